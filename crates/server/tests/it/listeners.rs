//! Who can reach the API.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hyper::StatusCode;
use tidegate_server::Listener;

use super::caller::{Site, request, text};

#[tokio::test]
async fn a_directory_for_the_socket_is_made_for_this_user_only() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("made/api.sock");
    let listener = Listener::bind(Some(&socket), None).await.unwrap();
    let mode = fs::metadata(dir.path().join("made")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    drop(listener);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_directory_that_others_may_enter_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = Listener::bind(Some(&dir.path().join("api.sock")), None).await.unwrap_err();
    assert!(error.to_string().contains("may be entered by others (mode 755)"), "{error}");
}

#[tokio::test]
async fn a_socket_is_taken_from_the_dead_and_not_from_the_living() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api/api.sock");
    drop(Listener::bind(Some(&socket), None).await.unwrap());
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let held = Listener::bind(Some(&socket), None).await.unwrap();
    let error = Listener::bind(Some(&socket), None).await.unwrap_err();
    assert!(error.to_string().contains("another process answers there"), "{error}");
    drop(held);
}

#[tokio::test]
async fn addresses_that_others_can_reach_are_refused() {
    for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:80"] {
        let error = Listener::bind(None, Some(address.parse().unwrap())).await.unwrap_err();
        assert!(error.to_string().contains("only addresses of this machine"), "{error}");
    }
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let error = Listener::bind(Some(&dir.path().join("x".repeat(120))), None).await.unwrap_err();
    assert!(error.to_string().contains("at most 103 bytes"), "{error}");
}

#[tokio::test]
async fn over_tcp_only_this_machine_is_answered() {
    let site = Site::start().await;
    let with = |name: &'static str, value: &'static str| {
        let mut asked = request("GET", "/livez", "");
        asked.headers_mut().insert(name, value.parse().unwrap());
        asked
    };
    let (status, _) = text(site.open_tcp(with("host", "localhost:9")).await).await;
    assert_eq!(status, StatusCode::OK);
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example")] {
        let (status, body) = text(site.open_tcp(with(name, value)).await).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(body.contains("evil.example"), "{body}");
    }
}

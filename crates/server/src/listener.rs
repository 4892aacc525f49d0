//! Where callers come in: a unix socket that only this user can reach, and an address of this machine. Invariant: no
//! socket is opened in a directory that others may enter, and no address that others can reach.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// The longest path of a socket that every system takes.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Why nobody can be listened to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could enter the directory of the socket.
    #[error(
        "listen on {}: its directory may be entered by others (mode {mode:o}); choose a directory with mode 700",
        path.display()
    )]
    Open {
        /// The socket.
        path: PathBuf,
        /// The mode of its directory.
        mode: u32,
    },
    /// The path is too long for a socket.
    #[error(
        "listen on {}: the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes; choose a shorter one",
        path.display()
    )]
    Long {
        /// The socket.
        path: PathBuf,
    },
    /// Somebody listens there already.
    #[error("listen on {}: another process answers there; stop it with `tidegate down`", path.display())]
    Held {
        /// The socket.
        path: PathBuf,
    },
    /// The address can be reached from outside.
    #[error(
        "listen on {address}: there is no login, so only addresses of this machine such as 127.0.0.1:0 are allowed"
    )]
    Public {
        /// The address.
        address: SocketAddr,
    },
    /// The system refuses.
    #[error("listen on {place}")]
    Io {
        /// The socket or address.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where callers come in.
#[derive(Debug)]
pub struct Listener {
    unix: Option<(UnixListener, PathBuf)>,
    tcp: Option<TcpListener>,
}

/// A caller.
pub(crate) enum Caller {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    /// Listens on a socket, an address or both. A socket that nobody answers on is replaced.
    pub async fn bind(socket: Option<&Path>, address: Option<SocketAddr>) -> Result<Self, Error> {
        let tcp = match address {
            Some(address) => Some(bind_address(address).await?),
            None => None,
        };
        let unix = match socket {
            Some(path) => Some((bind_socket(path).await?, path.to_owned())),
            None => None,
        };
        Ok(Self { unix, tcp })
    }

    /// The address listened on, with the port that the system chose.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }

    /// The next caller; never where nothing is listened on.
    pub(crate) async fn accept(&self) -> io::Result<Caller> {
        tokio::select! {
            taken = accept_unix(self.unix.as_ref()) => taken.map(Caller::Unix),
            taken = accept_tcp(self.tcp.as_ref()) => taken.map(Caller::Tcp),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.unix
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "the socket stays");
        }
    }
}

async fn accept_unix(listener: Option<&(UnixListener, PathBuf)>) -> io::Result<UnixStream> {
    match listener {
        Some((listener, _)) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn accept_tcp(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn bind_address(address: SocketAddr) -> Result<TcpListener, Error> {
    if !address.ip().is_loopback() {
        return Err(Error::Public { address });
    }
    TcpListener::bind(address).await.map_err(|source| Error::Io { place: address.to_string(), source })
}

async fn bind_socket(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::Io { place: path.display().to_string(), source };
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(Error::Long { path: path.to_owned() });
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let mode = fs::metadata(directory).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Open { path: path.to_owned(), mode });
    }
    match UnixStream::connect(path).await {
        Ok(_) => return Err(Error::Held { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // What a process that was killed has left.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    UnixListener::bind(path).map_err(failed)
}

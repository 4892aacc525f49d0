//! Processes that stand still for a while and go on.

use std::path::Path;
use std::process::Command;

use crate::udf_server::until;

/// Stops a process and waits until none of its threads runs any more: the signal only begins that.
pub(crate) async fn stand_still(process: u32) {
    signal(process, "STOP");
    let tasks = format!("/proc/{process}/task");
    let stands = |task: &Path| {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    until("every thread stands still", || {
        std::fs::read_dir(&tasks).unwrap().all(|task| stands(&task.unwrap().path()))
    })
    .await;
}

pub(crate) fn go_on(process: u32) {
    signal(process, "CONT");
}

fn signal(process: u32, signal: &str) {
    assert!(Command::new("kill").args(["-s", signal, &process.to_string()]).status().unwrap().success());
}

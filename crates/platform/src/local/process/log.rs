//! The kept output of a container: one file that is renamed when it is full, so at most two of them exist.
//!
//! Each line reads `2026-05-20T10:00:00.123Z stdout F text`, with `P` instead of `F` when the next line goes on with
//! it. Invariant: a disk that is full or gone costs log lines and never the program.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::lines::{Line, Stream};

/// The size at which a log file is put aside.
pub(super) const SIZE_MAX: u64 = 8 * 1024 * 1024;

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    is_failing: bool,
}

impl LogFile {
    /// Opens a log to append to it, with the directories above it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let (file, size) = open(path)?;
        Ok(Self { path: path.to_owned(), file, size, is_failing: false })
    }

    pub(super) fn write(&mut self, line: &Line) {
        match self.try_write(line) {
            Ok(()) => self.is_failing = false,
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::warn!(path = %self.path.display(), %error, "output of user code is not kept");
            }
            Err(_) => {}
        }
    }

    fn try_write(&mut self, line: &Line) -> io::Result<()> {
        let stream = match line.stream {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        };
        let end = if line.is_partial { 'P' } else { 'F' };
        let text = format!("{} {stream} {end} {}\n", timestamp(SystemTime::now()), line.text);
        if self.size > 0 && self.size + text.len() as u64 > SIZE_MAX {
            self.put_aside()?;
        }
        self.file.write_all(text.as_bytes())?;
        self.size += text.len() as u64;
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        fs::rename(&self.path, older)?;
        (self.file, self.size) = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// A point in time as RFC 3339 with milliseconds, in UTC. Times before 1970 read as 1970.
pub(super) fn timestamp(at: SystemTime) -> String {
    const SECONDS_PER_DAY: u64 = 86_400;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / SECONDS_PER_DAY, since.as_secs() % SECONDS_PER_DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a day counted from 1970-01-01. Years begin in March here, so that leap days come last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

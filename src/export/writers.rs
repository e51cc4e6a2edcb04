//! Files of folders, written by several threads: a bucket and a disk let wait for each. In: files, one by
//! one. Out: the same files in their folders, or the first error. What may wait is bounded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Sender;

use super::folder::Open;
use crate::error::Error;

/// Files that are written at a time.
const WRITERS: usize = 8;

/// Files that may wait to be written.
const WAITING: usize = 4;

/// A file on its way.
pub struct Job {
    pub folder: Kind,
    pub name: String,
    pub png: Vec<u8>,
}

/// Which folder a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Overlay,
    Mask,
}

/// Where files go to be written.
pub struct Jobs<'a> {
    send: Sender<Job>,
    failed: &'a AtomicBool,
    error: &'a Mutex<Option<Error>>,
}

impl Jobs<'_> {
    /// Waits while too many are on their way.
    pub fn send(&self, job: Job) {
        // Writers take all there is, whatever fails.
        let _ = self.send.send(job);
    }

    /// Whether a file could not be written.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether all went well so far.
    ///
    /// # Errors
    /// The first one of a writer.
    pub fn check(&self) -> Result<(), Error> {
        match self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Runs `work` beside threads that write the files which it sends.
///
/// # Errors
/// What `work` says, or a file that cannot be written.
pub fn writing(
    folders: [Option<&Open>; 2],
    work: impl FnOnce(&Jobs) -> Result<(), Error>,
) -> Result<(), Error> {
    let (send, receive) = crossbeam_channel::bounded::<Job>(WAITING);
    let (failed, error) = (AtomicBool::new(false), Mutex::new(None));
    let done = std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let (receive, failed, error) = (receive.clone(), &failed, &error);
            scope.spawn(move || {
                for Job { folder, name, png } in receive {
                    let folder = folders[folder as usize];
                    let Some(folder) = folder.filter(|_| !failed.load(Ordering::Relaxed)) else {
                        continue;
                    };
                    if let Err(why) = folder.put(&name, png) {
                        failed.store(true, Ordering::Relaxed);
                        let mut error = error.lock().unwrap_or_else(PoisonError::into_inner);
                        error.get_or_insert(why);
                    }
                }
            });
        }
        work(&Jobs { send, failed: &failed, error: &error })
    });
    done?;
    error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

//! Copies that share their blocks until one is written to.

use crate::Store;
use rustix::{fs::ioctl_ficlone, io::Errno};
use std::fs;

impl Store {
    /// Makes `target` (new, empty) a reflink of `source`; `false` where the file system cannot.
    pub(crate) fn reflink(&self, source: &fs::File, target: &fs::File) -> bool {
        if !self.may_reflink() {
            return false;
        }
        match ioctl_ficlone(target, source) {
            Ok(()) => true,
            Err(Errno::XDEV) => false,
            Err(_) => {
                self.forget_reflink();
                false
            }
        }
    }
}

//! Whether a file's times tell of every change of its bytes, so that a digest may be remembered by them.
//!
//! A program that has a file mapped into its memory, to be shared, changes it without a system call. Most file
//! systems of disks let the first write to a page through a handler that sets both times. File systems in memory
//! do not: there the times stand still while the bytes change. Nor is it known of those that stack on others or
//! ask another host. So the ones are named that are known to, and no other is believed.
//!
//! Where it is told, it is told once for each time that a page is written back: until then its pages can be written
//! to unseen. That takes the kernel half a minute by itself, so younger files are not believed either.
//!
//! Does not catch: a host that was told to keep written pages longer (`vm.dirty_expire_centisecs`), and a disk so
//! busy that it takes so long all the same.
//!
//! Source: the `page_mkwrite` of each file system in Linux; msync(2), proc_sys_vm(5).

use std::os::fd::OwnedFd;
use std::sync::{PoisonError, RwLock};

use rustix::io::Errno;

/// How many seconds ago a file must have changed last, so that what it holds is in step with its times: as long as
/// the kernel keeps written pages, with its own settings, and nearly as long again.
pub const SETTLED_SECONDS: u32 = 60;

/// The file systems whose times are set by a write to a mapped page: ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, ZFS.
const TELLING: [u64; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0xCA45_1A4E, 0x2FC1_2FC1];

/// Which devices have file systems that tell: each is asked once.
#[derive(Debug, Default)]
pub struct Telling {
    devices: RwLock<Vec<(u64, bool)>>,
}

impl Telling {
    /// Says whether the times of files of a device are to be believed. `open` opens one of them, if it is asked for
    /// the first time; a file system that cannot be asked is not believed.
    pub fn tells(&self, device: u64, open: impl FnOnce() -> Result<OwnedFd, Errno>) -> bool {
        let known = |devices: &Vec<(u64, bool)>| {
            devices.iter().find(|(known, _)| *known == device).map(|(_, tells)| *tells)
        };
        let found = known(&self.devices.read().unwrap_or_else(PoisonError::into_inner));
        found.unwrap_or_else(|| {
            let asked = open().and_then(rustix::fs::fstatfs);
            let tells = asked.is_ok_and(|asked| {
                u64::try_from(asked.f_type).is_ok_and(|kind| TELLING.contains(&kind))
            });
            self.devices.write().unwrap_or_else(PoisonError::into_inner).push((device, tells));
            tells
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_asked_once_and_believed_only_where_it_tells() {
        let telling = Telling::default();
        let proc =
            || rustix::fs::open("/proc", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
        assert!(!telling.tells(1, proc));
        assert!(!telling.tells(1, || unreachable!("it is known")));
        assert!(!telling.tells(2, || Err(Errno::ACCESS)), "not believed unasked");
    }
}

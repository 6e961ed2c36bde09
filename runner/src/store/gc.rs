//! `store gc`: deletes what nothing needs.
//!
//! Runs alone: it holds the gc lock, so that no run can begin, and gives up with "busy" if one is in
//! flight. So a build never loses what it has stored and not yet referred to (S-G09), and nothing
//! depends on a clock being right but how long old results are kept.
//!
//! 1. Roots: records and results younger than the caller's limit, what is held by name, and what a
//!    kept checkout shows.
//! 2. Old results and records go first, objects last, so that at no instant an entry names what is
//!    gone; each by a rename to `trash/`.
//! 3. The lock is freed; `trash/` is emptied. Interrupted at any point, the next run ends the same.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;

use model::{Blob, Digest};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use serde::Serialize;

use super::action::Held;
use super::checkout::{Kind, Subject};
use super::error::{Error, Operation, io};
use super::lock;
use super::open::{Store, empty_trash, folder, names, sharded};
use super::record::UnixMillis;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Results, records and checkouts that were made or used since then.
    pub since: UnixMillis,
    /// At least so many of the newest records of each project, however old.
    pub records_per_project: usize,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Checkouts.
    pub checkouts: u64,
    /// Results.
    pub actions: u64,
    /// Records.
    pub records: u64,
}

impl Store {
    /// Deletes what is neither kept nor needed by what is kept.
    ///
    /// # Errors
    /// [`Error::Busy`] while another run has the store open, and what the kernel refuses.
    pub fn gc(&self, keep: Keep) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        {
            let _alone = lock::exclusive(self.root.as_fd(), "lock/gc", self.wait)?;
            self.refuse_other_runs()?;
            // 1. Roots; 2. entries, then checkouts, then objects.
            let mut roots = self.held_by_name()?;
            self.collect_records(keep, &mut roots, &mut collected)?;
            self.collect_actions(keep, &mut roots, &mut collected)?;
            self.collect_checkouts(keep, &mut roots, &mut collected)?;
            let needed = self.needed(&roots)?;
            self.collect_objects(&needed, &mut collected)?;
        }
        // 3.
        empty_trash(self.root.as_fd())?;
        self.wrote();
        Ok(collected)
    }

    fn refuse_other_runs(&self) -> Result<(), Error> {
        let tmp = folder(self.root.as_fd(), "tmp")?;
        let own = rustix::fs::fstat(&self.run).map_err(io(Operation::Inspect, "tmp"))?;
        for name in names(tmp.as_fd(), "tmp")? {
            let at = Path::new("tmp").join(&name);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(run) = rustix::fs::openat(&tmp, &name, flags, Mode::empty()) else { continue };
            let stat = rustix::fs::fstat(&run).map_err(io(Operation::Inspect, &at))?;
            if (stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino) {
                continue;
            }
            let over = lock::try_lock(run.as_fd(), FlockOperation::NonBlockingLockExclusive)
                .map_err(io(Operation::Lock, at))?;
            if !over {
                let process = name.split('-').next().unwrap_or("?");
                return Err(Error::Busy { holder: format!("process {process}") });
            }
        }
        Ok(())
    }

    fn collect_records(
        &self,
        keep: Keep,
        roots: &mut Vec<Held>,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        let above = folder(self.root.as_fd(), "records")?;
        let found = self.found_records()?;
        for (place, record) in found.iter().enumerate() {
            let newer = found[place + 1..]
                .iter()
                .take(keep.records_per_project)
                .filter(|other| other.project == record.project)
                .count();
            match &record.entry {
                Some(entry) if newer < keep.records_per_project || entry.made >= keep.since => {
                    roots.push(Held::Blob(entry.record));
                    roots.extend(&entry.holds);
                }
                _ => {
                    let path = format!("{}/{}", record.project, record.name);
                    self.discard_below(above.as_fd(), "records", &path)?;
                    collected.records += 1;
                }
            }
        }
        Ok(())
    }

    fn collect_actions(
        &self,
        keep: Keep,
        roots: &mut Vec<Held>,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        let above = folder(self.root.as_fd(), "actions")?;
        for found in self.found_actions()? {
            let at = Path::new("actions").join(&found.name);
            let stat = rustix::fs::statat(&above, &found.name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io(Operation::Inspect, at))?;
            match found.holds {
                Some(holds) if is_young(&stat, keep) => roots.extend(holds),
                _ => {
                    self.discard_below(above.as_fd(), "actions", &found.name)?;
                    collected.actions += 1;
                }
            }
        }
        Ok(())
    }

    fn collect_checkouts(
        &self,
        keep: Keep,
        roots: &mut Vec<Held>,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        for name in names(self.checkouts.as_fd(), "checkouts")? {
            let at = Path::new("checkouts").join(&name);
            let stat = rustix::fs::statat(&self.checkouts, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io(Operation::Inspect, at))?;
            let subject = Subject::parse(&name);
            let kept = subject.is_some() && is_young(&stat, keep);
            if !kept && self.discard_unused_checkout(&name)? {
                collected.checkouts += 1;
            } else if let Some(subject) = subject
                && let Some(size) = self.size(&subject.digest)
            {
                let blob = Blob { digest: subject.digest, size };
                roots.push(match subject.kind {
                    Kind::Folder => Held::Tree(blob),
                    Kind::File { .. } => Held::Blob(blob),
                });
            }
        }
        Ok(())
    }

    /// Returns every object that a root names. A tree that is not whole keeps what it has.
    fn needed(&self, roots: &[Held]) -> Result<BTreeSet<Digest>, Error> {
        let mut needed = BTreeSet::new();
        for held in roots.iter().collect::<BTreeSet<_>>() {
            match held {
                Held::Blob(blob) => {
                    needed.insert(blob.digest);
                }
                Held::Tree(root) => match self.tree_parts(root) {
                    Ok(parts) => {
                        needed.extend(parts.folders.iter().map(|blob| blob.digest));
                        needed.extend(parts.files.iter().map(|blob| blob.digest));
                    }
                    Err(error) if error.is_miss() => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(needed)
    }

    fn collect_objects(
        &self,
        needed: &BTreeSet<Digest>,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        self.each_object(&mut |digest, size| {
            if !needed.contains(&digest) {
                self.discard_below(self.objects.as_fd(), "objects", &sharded(&digest))?;
                collected.objects += 1;
                collected.object_bytes += size;
            }
            Ok(())
        })
    }
}

fn is_young(stat: &rustix::fs::Stat, keep: Keep) -> bool {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(999) >= keep.since.0
}

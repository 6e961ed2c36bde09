//! `store verify`: is everything what its name says, and is everything here that something names?
//!
//! The oracle of every crash test. It acts on what it finds, so that a second run is clean: a damaged
//! object goes to `quarantine/`, a checkout that differs and a result that stands on nothing are
//! removed, since both can be made again. Records are only reported.
//!
//! Without `Deep`, bytes are not read: names, sizes, kinds and references only.
//! Does not catch: an object that was deleted and that nothing names any more.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use model::{Blob, Digest};
use rayon::prelude::*;
use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::Errno;
use serde::Serialize;

use super::checkout::{Kind, Subject, VISIBLE};
use super::error::{Error, Operation, io};
use super::open::{Store, folder, names, object_path};
use super::{lock, scan};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names, sizes and references.
    Names,
    /// Every byte of every object and checkout.
    Deep,
}

/// What was looked at and what was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Objects looked at.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Checkouts looked at.
    pub checkouts: u64,
    /// Results looked at.
    pub actions: u64,
    /// Records looked at.
    pub records: u64,
    /// What was wrong, sorted by place. Anything here is KILN-0601.
    pub damage: Vec<Damage>,
}

/// One thing that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Damage {
    /// Where, relative to the store.
    pub at: PathBuf,
    /// What.
    pub kind: DamageKind,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamageKind {
    /// An object's bytes are not those of its name; it was moved to `quarantine/`.
    Object,
    /// Something that is none of ours lies among ours.
    Foreign,
    /// A checkout differs from its tree; it was removed, unless a build is using it.
    Checkout,
    /// A result or record does not check.
    Entry,
    /// A result or record names something that is not here.
    Dangling,
}

impl Store {
    /// Looks at everything in the store, in the order objects, references, checkouts, so that what
    /// refers to a damaged object is found in the same run.
    ///
    /// # Errors
    /// What the kernel refuses; damage is no error but part of the report.
    pub fn verify(&self, depth: Depth) -> Result<Report, Error> {
        self.reporting.store(true, std::sync::atomic::Ordering::Relaxed);
        let report = self.verify_all(depth);
        self.reporting.store(false, std::sync::atomic::Ordering::Relaxed);
        report
    }

    fn verify_all(&self, depth: Depth) -> Result<Report, Error> {
        let mut report = Report::default();
        self.verify_objects(depth, &mut report)?;
        self.verify_actions(&mut report)?;
        self.verify_records(&mut report)?;
        self.verify_checkouts(depth, &mut report)?;
        report.damage.sort();
        Ok(report)
    }

    fn verify_objects(&self, depth: Depth, report: &mut Report) -> Result<(), Error> {
        let mut blobs = Vec::new();
        self.each_object(&mut |digest, size| {
            blobs.push(Blob { digest, size });
            Ok(())
        })?;
        report.objects = blobs.len() as u64;
        report.object_bytes = blobs.iter().map(|blob| blob.size).sum();
        self.find_foreign_objects(report)?;
        let damaged = blobs
            .par_iter()
            .map(|blob| {
                let checked = match depth {
                    Depth::Names => self.open_object(&blob.digest).map(drop),
                    Depth::Deep => self.check_object(blob),
                };
                match checked {
                    Ok(()) | Err(Error::Missing(_)) => Ok(None),
                    Err(Error::Damaged(digest)) => Ok(Some(digest)),
                    Err(error) => Err(error),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        report.damage.extend(
            damaged
                .into_iter()
                .flatten()
                .map(|digest| Damage { at: object_path(&digest), kind: DamageKind::Object }),
        );
        Ok(())
    }

    fn find_foreign_objects(&self, report: &mut Report) -> Result<(), Error> {
        let mut foreign = |at| report.damage.push(Damage { at, kind: DamageKind::Foreign });
        for shard in names(self.objects.as_fd(), "objects")? {
            let at = Path::new("objects").join(&shard);
            let Ok(opened) = folder(self.objects.as_fd(), &shard) else {
                foreign(at);
                continue;
            };
            for rest in names(opened.as_fd(), "objects")? {
                if Digest::from_hex(&format!("{shard}{rest}")).is_err() {
                    foreign(at.join(rest));
                }
            }
        }
        Ok(())
    }

    fn verify_actions(&self, report: &mut Report) -> Result<(), Error> {
        let above = folder(self.root.as_fd(), "actions")?;
        for found in self.found_actions()? {
            report.actions += 1;
            let kind = match &found.holds {
                None => DamageKind::Entry,
                Some(holds) if !self.are_held(holds)? => DamageKind::Dangling,
                Some(_) => continue,
            };
            report.damage.push(Damage { at: Path::new("actions").join(&found.name), kind });
            self.discard_below(above.as_fd(), "actions", &found.name)?;
        }
        Ok(())
    }

    fn verify_records(&self, report: &mut Report) -> Result<(), Error> {
        for found in self.found_records()? {
            report.records += 1;
            let kind = match &found.entry {
                None => DamageKind::Entry,
                Some(entry) if self.has_sized(&entry.record) && self.are_held(&entry.holds)? => {
                    continue;
                }
                Some(_) => DamageKind::Dangling,
            };
            let at = Path::new("records").join(&found.project).join(&found.name);
            report.damage.push(Damage { at, kind });
        }
        Ok(())
    }

    fn verify_checkouts(&self, depth: Depth, report: &mut Report) -> Result<(), Error> {
        for name in names(self.checkouts.as_fd(), "checkouts")? {
            report.checkouts += 1;
            let at = Path::new("checkouts").join(&name);
            let Some(subject) = Subject::parse(&name) else {
                report.damage.push(Damage { at, kind: DamageKind::Foreign });
                continue;
            };
            if depth == Depth::Names || self.checkout_agrees(&name, &subject)? {
                continue;
            }
            self.discard_unused_checkout(&name)?;
            report.damage.push(Damage { at, kind: DamageKind::Checkout });
        }
        Ok(())
    }

    fn checkout_agrees(&self, name: &str, subject: &Subject) -> Result<bool, Error> {
        let opened = match folder(self.checkouts.as_fd(), name) {
            Ok(opened) => opened,
            Err(_) => return Ok(false),
        };
        let Some(size) = self.size(&subject.digest) else {
            // The tree without entries is known without being stored; nothing else is.
            let empty = model::Tree::empty();
            let is_empty = subject.digest == empty.root.digest && subject.kind == Kind::Folder;
            return Ok(is_empty && scan::folder_agrees(opened.as_fd(), &empty, subject.look)?);
        };
        let blob = Blob { digest: subject.digest, size };
        match subject.kind {
            Kind::File { executable } => {
                scan::file_agrees(opened.as_fd(), VISIBLE, &blob, executable, subject.look)
            }
            Kind::Folder => match self.load_tree(&blob) {
                Ok(tree) => scan::folder_agrees(opened.as_fd(), &tree, subject.look),
                Err(error) if error.is_miss() => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Removes a checkout that no build uses; says whether it is gone.
    ///
    /// Whoever moves a checkout away holds the lock on the very folder that has the name then: the
    /// name is compared again under the lock, since another process may have removed and made it anew.
    pub(super) fn discard_unused_checkout(&self, name: &str) -> Result<bool, Error> {
        let at = || Path::new("checkouts").join(name);
        let opened = match folder(self.checkouts.as_fd(), name) {
            Ok(opened) => opened,
            // No folder, so nobody holds a share of it. One that is gone is fine.
            Err(_) => {
                self.discard(self.checkouts.as_fd(), "checkouts", name)?;
                return Ok(true);
            }
        };
        let free = lock::try_lock(opened.as_fd(), FlockOperation::NonBlockingLockExclusive)
            .map_err(io(Operation::Lock, at()))?;
        if !free {
            return Ok(false);
        }
        let held = rustix::fs::fstat(&opened).map_err(io(Operation::Inspect, at()))?;
        match rustix::fs::statat(&self.checkouts, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {
                self.discard(self.checkouts.as_fd(), "checkouts", name)?;
                Ok(true)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(true),
            Err(errno) => Err(io(Operation::Inspect, at())(errno)),
        }
    }

    /// Moves `SHARD/NAME` to `trash/`.
    pub(super) fn discard_below(
        &self,
        above: std::os::fd::BorrowedFd<'_>,
        shown: &str,
        name: &str,
    ) -> Result<(), Error> {
        let Some((shard, rest)) = name.split_once('/') else { return Ok(()) };
        let opened = folder(above, shard)?;
        self.discard(opened.as_fd(), shown, rest)
    }

    fn are_held(&self, holds: &[super::Held]) -> Result<bool, Error> {
        for held in holds {
            if !self.is_held(held)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

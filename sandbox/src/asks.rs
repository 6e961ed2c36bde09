//! What one step asks of the host besides the core guarantees, held against it before anything is made.
//!
//! [`run`](crate::run) refuses the same, one thing at a time and only when that step's turn has come. Here
//! all of a plan can be asked first, so that nobody waits an hour for a refusal. Both look in the same places.
//!
//! Does not catch: a host that changes between the question and the step.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use model::isolation::Guarantee;
use model::limits::Limits;

use crate::Backend;
use crate::docker::{Facts, short_of_engine};
use crate::error::{Error, LimitName};
use crate::native::cgroup::Host;
use crate::native::{inherited, order, share};
use crate::spec::Widen;

/// What a step asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asks<'a> {
    /// Its limits; those that it wrote are promises.
    pub limits: &'a Limits,
    /// How many processors it is pinned to.
    pub cpus: Option<NonZeroU32>,
    /// What it widens.
    pub widen: Widen,
    /// Guarantees that may be missing.
    pub waived: &'a BTreeSet<Guarantee>,
}

impl Asks<'_> {
    /// Returns everything that this host and the backend cannot give. Of a container engine it is not
    /// known before it was asked, see [`Asks::refused_by_engine`].
    pub fn refused(&self, backend: &Backend) -> Vec<Error> {
        let mut wrong: Vec<Error> = order::processors(self.cpus).err().into_iter().collect();
        match backend {
            Backend::Native => {
                wrong.extend(order::can_widen(self.widen).err());
                wrong.extend(self.short(order::short(self.limits, Host::get())));
                wrong.extend(self.limits_of_caller());
            }
            Backend::Confined(_) => {
                let disk = self.limits.disk.asked.then_some(LimitName::Disk);
                wrong.extend(self.short(order::short(self.limits, Host::get()).chain(disk)));
                wrong.extend(self.limits_of_caller());
            }
            Backend::Docker(_) => {}
        }
        wrong
    }

    /// Returns the limits that an engine cannot keep.
    pub fn refused_by_engine(&self, engine: &Facts) -> Vec<Error> {
        self.short(short_of_engine(self.limits, engine)).collect()
    }

    fn limits_of_caller(&self) -> impl Iterator<Item = Error> {
        let waived = self.waived.contains(&Guarantee::Limits);
        let all = inherited::of_caller().map(|limit| Error::CallerLimited { limit });
        all.chain(share::judge(self.limits).err()).filter(move |_| !waived)
    }

    fn short(&self, short: impl Iterator<Item = LimitName>) -> impl Iterator<Item = Error> {
        let waived = self.waived.contains(&Guarantee::Limits);
        short.filter(move |_| !waived).map(|limit| Error::Unenforceable { limit })
    }
}

//! `Access`: who may ask an attestor on a socket, and for what. The table `[listen]`.
//!
//! ```toml
//! [listen]
//! build = [1000]        # users that run builds: may have what they observed signed
//! control = [1002]      # users of the control plane: may open Orders, and attest
//! admin = [1004]        # users that may make and put away keys
//! build-groups = []     # the same by the peer's own group; and control-groups, admin-groups
//! requests-per-minute = 600
//! ```
//!
//! Nobody has two roles: who could both order and observe could have anything signed, which is what
//! the separation is for. Root does not build through a socket: it can read the key, so the socket
//! would only look like a separation.
//!
//! Pure: numbers in, decision out. The kernel says who the peer is.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Requests that one user may make in a minute, unless the file says otherwise: far above a build
/// of hundreds of artifacts, far below what keeps the signer busy.
const REQUESTS_PER_MINUTE: u32 = 600;
/// Most users or groups of one role: a list for people to read.
const LISTED_MAX: usize = 256;

/// What somebody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Signatures over what answers an open Order.
    Build,
    /// Open Orders; attest.
    Control,
    /// Key operations.
    Admin,
}

/// Who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    users: BTreeMap<u32, Role>,
    groups: BTreeMap<u32, Role>,
    /// Requests that one user may make in a minute.
    pub(crate) requests_per_minute: u32,
}

/// Who is at the other end of a socket, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its effective user when it connected.
    pub(crate) uid: u32,
    /// Its effective group then.
    pub(crate) gid: u32,
}

/// Why a table is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("{whose} {number} has two roles; who orders must not be who builds")]
    TwoRoles { whose: &'static str, number: u32 },
    #[error("user 0 builds; root can read the key, so a socket keeps nothing from it")]
    RootBuilds,
    #[error("`build` and `control` need at least one user or group each")]
    Nobody,
    #[error("more than {LISTED_MAX} users or groups in one role")]
    Many,
    #[error("`requests-per-minute` is 0")]
    Rate,
}

/// Why a peer has no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRole {
    #[error("user {uid} with group {gid} may ask this attestor for nothing")]
    Unknown { uid: u32, gid: u32 },
    #[error("user {uid} has one role and its group {gid} another")]
    Two { uid: u32, gid: u32 },
    #[error(
        "user {uid} is root, or the one this attestor runs as, who can reach the key without asking: no build of theirs is heard"
    )]
    Own { uid: u32 },
}

/// The table as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[derive(Default)]
pub(crate) struct AccessIn {
    build: Vec<u32>,
    control: Vec<u32>,
    admin: Vec<u32>,
    build_groups: Vec<u32>,
    control_groups: Vec<u32>,
    admin_groups: Vec<u32>,
    requests_per_minute: Option<u32>,
}

impl AccessIn {
    /// Checks that the table keeps apart what must be apart.
    pub(crate) fn check(self) -> Result<Access, AccessError> {
        let users = [self.build, self.control, self.admin];
        let groups = [self.build_groups, self.control_groups, self.admin_groups];
        let users = roles("user", users)?;
        let groups = roles("group", groups)?;
        if users.get(&0) == Some(&Role::Build) {
            return Err(AccessError::RootBuilds);
        }
        let has = |role| users.values().chain(groups.values()).any(|one| *one == role);
        if !has(Role::Build) || !has(Role::Control) {
            return Err(AccessError::Nobody);
        }
        let requests_per_minute = self.requests_per_minute.unwrap_or(REQUESTS_PER_MINUTE);
        if requests_per_minute == 0 {
            return Err(AccessError::Rate);
        }
        Ok(Access { users, groups, requests_per_minute })
    }
}

fn roles(whose: &'static str, lists: [Vec<u32>; 3]) -> Result<BTreeMap<u32, Role>, AccessError> {
    let mut roles = BTreeMap::new();
    for (role, list) in [Role::Build, Role::Control, Role::Admin].into_iter().zip(lists) {
        if list.len() > LISTED_MAX {
            return Err(AccessError::Many);
        }
        for number in list {
            if roles.insert(number, role).is_some_and(|before| before != role) {
                return Err(AccessError::TwoRoles { whose, number });
            }
        }
    }
    Ok(roles)
}

impl Access {
    /// Says whether this user is listed by number as one that builds.
    pub(crate) fn builds(&self, uid: u32) -> bool {
        self.users.get(&uid) == Some(&Role::Build)
    }

    /// Returns the users that are listed by number.
    pub(crate) fn users(&self) -> impl Iterator<Item = u32> {
        self.users.keys().copied()
    }

    /// Returns the groups that are listed.
    pub(crate) fn groups(&self) -> impl Iterator<Item = u32> {
        self.groups.keys().copied()
    }

    /// Says whether builds of this user can be heard at all. Which group a user has is known only once it
    /// connects, so where a group builds nobody is excluded who has no role by number. `own` is the attestor's
    /// own user.
    pub(crate) fn can_build(&self, uid: u32, own: u32) -> bool {
        let by_group = || self.groups.values().any(|role| *role == Role::Build);
        let listed = self.users.get(&uid);
        uid != 0 && uid != own && listed.map_or_else(by_group, |role| *role == Role::Build)
    }

    /// Returns the one role of a peer. `own` is the attestor's own user.
    pub(crate) fn role(&self, peer: Peer, own: u32) -> Result<Role, NoRole> {
        let Peer { uid, gid } = peer;
        let role = match (self.users.get(&uid), self.groups.get(&gid)) {
            (None, None) => return Err(NoRole::Unknown { uid, gid }),
            (Some(one), Some(other)) if one != other => return Err(NoRole::Two { uid, gid }),
            (Some(role), _) | (None, Some(role)) => *role,
        };
        // Such a process can read the key, or be made to: there is nothing to keep apart.
        if role == Role::Build && (uid == own || uid == 0) {
            return Err(NoRole::Own { uid });
        }
        Ok(role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(text: &str) -> Result<Access, AccessError> {
        toml::from_str::<AccessIn>(text).unwrap().check()
    }

    #[test]
    fn everybody_has_one_role_or_none() {
        let access = access("build = [1000]\ncontrol = [1002]\nadmin-groups = [7]").unwrap();
        let role = |uid, gid| access.role(Peer { uid, gid }, 1001);
        assert_eq!(role(1000, 1000), Ok(Role::Build));
        assert_eq!(role(1002, 1002), Ok(Role::Control));
        assert_eq!(role(5, 7), Ok(Role::Admin));
        assert_eq!(role(1003, 1000), Err(NoRole::Unknown { uid: 1003, gid: 1000 }));
        assert_eq!(role(0, 0), Err(NoRole::Unknown { uid: 0, gid: 0 }));
        assert_eq!(role(1000, 7), Err(NoRole::Two { uid: 1000, gid: 7 }));
        assert_eq!(access.role(Peer { uid: 1000, gid: 1 }, 1000), Err(NoRole::Own { uid: 1000 }));
    }

    #[test]
    fn who_can_never_build_is_known_before_it_connects() {
        let table = access("build = [1000, 1001]\ncontrol = [1002]\nadmin-groups = [7]").unwrap();
        let can =
            |access: &Access| [0, 1000, 1001, 1002, 4242].map(|uid| access.can_build(uid, 1001));
        assert_eq!(can(&table), [false, true, false, false, false]);
        let table = access("build-groups = [9]\ncontrol = [1002]").unwrap();
        assert_eq!(can(&table), [false, true, false, false, true]);
    }

    #[test]
    fn tables_that_keep_nothing_apart_are_refused() {
        for (text, error) in [
            ("build = [0]\ncontrol = [1]", AccessError::RootBuilds),
            ("build = [1]\ncontrol = [1]", AccessError::TwoRoles { whose: "user", number: 1 }),
            (
                "build-groups = [1]\ncontrol-groups = [1]",
                AccessError::TwoRoles { whose: "group", number: 1 },
            ),
            ("build = [1]", AccessError::Nobody),
            ("control = [1]", AccessError::Nobody),
            ("", AccessError::Nobody),
            ("build = [1]\ncontrol = [2]\nrequests-per-minute = 0", AccessError::Rate),
        ] {
            assert_eq!(access(text).unwrap_err(), error, "{text}");
        }
        for text in ["builds = [1]", "build = [-1]", "build = [\"root\"]"] {
            assert!(toml::from_str::<AccessIn>(text).is_err(), "{text}");
        }
    }
}

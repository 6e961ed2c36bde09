//! `kiln doctor --fix NAME`: changes the host where one change is enough, and says so where it is not.
//!
//! Each fix is a decision, made from facts and tested without a host, and then one act. A fix changes
//! only what it names, needs root, and refuses where there is nothing that it could change.

use std::os::fd::AsFd;

use model::text;
use rustix::fs::{CWD, Mode, OFlags};
use sandbox::host::Facts;

use super::looks::OPEN_CONTAINER;
use crate::cli::{Ended, stop, wrong_usage};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::persist::Flush;
use crate::{persist, report};

/// The fixes by name.
const NAMES: &str = "apparmor, container, userns";
/// Where AppArmor's profiles lie, and the name of ours.
const PROFILES: (&str, &str) = ("/etc/apparmor.d", "kiln");
/// How many user namespaces are enough for any number of steps.
const NAMESPACES: &str = "15000";

/// The profile: kiln may make user namespaces, and nothing else changes for it.
const PROFILE: &str = "# Lets kiln make user namespaces where AppArmor restricts them.
abi <abi/4.0>,
include <tunables/global>
profile kiln /{usr/,usr/local/,}bin/kiln flags=(unconfined) {
  userns,
}
";

/// What a fix comes to.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// There is nothing to change, and why.
    Nothing(&'static str),
    /// It is refused, and what to do instead.
    Refused(&'static str, &'static str),
    /// The profile is written.
    Profile,
    /// A setting below `/proc/sys` gets a value.
    Setting(&'static str, &'static str),
}

/// Applies a named fix.
pub fn run(name: &str, facts: &Facts) -> Ended {
    let Some(decision) = decide(name, facts) else {
        let word = text::escape(name.as_bytes());
        let told = wrong_usage(format!("no fix `{word}`")).expected(NAMES);
        return stop(told.help("see what needs one:  kiln doctor"));
    };
    let done = match decision {
        Decision::Nothing(why) => format!("nothing to fix: {why}\n"),
        Decision::Refused(why, help) => {
            let headline = format!("kiln cannot fix `{name}` here");
            return stop(Diagnostic::new(Code::SandboxFailed, headline).why(why).help(help));
        }
        Decision::Profile => {
            let (folder, file) = PROFILES;
            write_profile().map_err(|error| {
                let headline = format!("cannot write {folder}/{file}");
                vec![Diagnostic::new(Code::SandboxFailed, headline).caused_by(&*error)]
            })?;
            format!("wrote {folder}/{file}; load it:  apparmor_parser -r {folder}/{file}\n")
        }
        Decision::Setting(setting, value) => {
            let dotted = setting.replace('/', ".");
            set(setting, value).map_err(|error| {
                let headline = format!("cannot set {dotted}");
                vec![Diagnostic::new(Code::NamespacesKernel, headline).caused_by(&error)]
            })?;
            format!(
                "set {dotted} = {value} until the next start; to keep it:  \
                 echo '{dotted} = {value}' > /etc/sysctl.d/60-kiln.conf\n"
            )
        }
    };
    report::data(&done);
    Ok(Exit::Done)
}

/// Decides what a fix comes to; none for a name that is no fix.
fn decide(name: &str, facts: &Facts) -> Option<Decision> {
    let settings = &facts.settings;
    let as_root = |decision, help| match settings.root {
        true => decision,
        false => Decision::Refused("it changes the host, which root alone may", help),
    };
    let inside = facts.container.is_some();
    Some(match name {
        "apparmor" if !matches!(settings.apparmor_restricts, Some(1..)) => {
            Decision::Nothing("AppArmor does not restrict user namespaces here")
        }
        "apparmor" if inside => Decision::Refused(
            "the profile belongs on the host, and this is a container",
            "on the host:  sudo kiln doctor --fix apparmor",
        ),
        "apparmor" => as_root(Decision::Profile, "sudo kiln doctor --fix apparmor"),
        "userns" => match (settings.max_user_namespaces, settings.unprivileged_clone) {
            (None, _) => {
                Decision::Refused("the kernel has no user namespaces", "use another kernel")
            }
            (Some(0), _) => as_root(
                Decision::Setting("user/max_user_namespaces", NAMESPACES),
                "sudo kiln doctor --fix userns",
            ),
            (_, Some(0)) => as_root(
                Decision::Setting("kernel/unprivileged_userns_clone", "1"),
                "sudo kiln doctor --fix userns",
            ),
            _ => Decision::Nothing("no setting of the kernel forbids user namespaces"),
        },
        "container" if inside || settings.filtered => {
            Decision::Refused("what is around kiln cannot be changed from inside", OPEN_CONTAINER)
        }
        "container" => Decision::Nothing("there is no container and no filter around kiln"),
        _ => return None,
    })
}

fn write_profile() -> Result<(), Box<dyn std::error::Error>> {
    let (folder, file) = PROFILES;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, folder, flags, Mode::empty())?;
    Ok(persist::replace(folder.as_fd(), file, PROFILE.as_bytes(), 0o644, Flush::Now)?)
}

fn set(setting: &str, value: &str) -> std::io::Result<()> {
    let path = format!("/proc/sys/{setting}");
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    std::io::Write::write_all(&mut file, value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox::host::Settings;

    #[test]
    fn a_fix_changes_the_host_only_as_root_and_only_where_it_helps() {
        let open = Settings { max_user_namespaces: Some(100), ..Settings::default() };
        let root = Settings { root: true, ..open.clone() };
        let refused = |decision: Option<Decision>| matches!(decision, Some(Decision::Refused(..)));
        let nothing = |decision: Option<Decision>| matches!(decision, Some(Decision::Nothing(_)));
        let check = |name, settings: &Settings, container| {
            decide(name, &Facts { settings: settings.clone(), container, ..Facts::default() })
        };
        let armor =
            |settings: &Settings| Settings { apparmor_restricts: Some(1), ..settings.clone() };
        assert!(nothing(check("apparmor", &root, None)));
        assert!(refused(check("apparmor", &armor(&open), None)));
        assert!(refused(check("apparmor", &armor(&root), Some("docker"))));
        assert_eq!(check("apparmor", &armor(&root), None), Some(Decision::Profile));
        let none =
            |settings: &Settings| Settings { max_user_namespaces: Some(0), ..settings.clone() };
        let setting = Decision::Setting("user/max_user_namespaces", NAMESPACES);
        assert!(nothing(check("userns", &root, None)));
        assert!(refused(check("userns", &none(&open), None)));
        assert_eq!(check("userns", &none(&root), None), Some(setting));
        let shut = Settings { unprivileged_clone: Some(0), ..root.clone() };
        let setting = Decision::Setting("kernel/unprivileged_userns_clone", "1");
        assert_eq!(check("userns", &shut, None), Some(setting));
        assert!(nothing(check("container", &root, None)));
        assert!(refused(check("container", &root, Some("docker"))));
        assert_eq!(check("nonsense", &root, None), None);
    }
}

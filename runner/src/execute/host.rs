//! What the rehearsal of a step says of this host, told as a build tells it.
//!
//! `kiln doctor` and a build ask the same rehearsal and tell it with the same words.

use sandbox::probe::{Note, Report, State};

use super::refusal::missing;
use crate::diagnostic::{Code, Diagnostic};

/// Returns what a person reads of a host on which a step cannot run; nothing where it can.
pub fn unready(found: &Report) -> Vec<Diagnostic> {
    if found.is_ready() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for finding in &found.findings {
        if let State::Missing { doing, cause, error } = &finding.state {
            let headline =
                format!("cannot keep the guarantee `{}` on this host: {doing}", finding.guarantee);
            wrong.push(missing(finding.guarantee, cause, headline).caused_by(error));
        }
    }
    if wrong.is_empty() {
        let told = Diagnostic::new(Code::SandboxFailed, "a step cannot run on this host");
        let message = found.notes.iter().find_map(|note| match note {
            Note::RehearsalFailed { message } => Some(message),
            Note::PipedCoreDumps { .. } => None,
        });
        wrong.push(match message {
            Some(message) => told.why(message),
            None => told,
        });
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::isolation::Guarantee;
    use sandbox::probe::Finding;
    use sandbox::{Cause, Doing};

    fn told(cause: Cause) -> Diagnostic {
        let error = std::io::Error::from_raw_os_error(1);
        let state = State::Missing { doing: Doing::UserNamespace, cause, error };
        let findings = vec![Finding { guarantee: Guarantee::Identity, state }];
        let found = Report { findings, notes: Vec::new(), kernel: "6.1".to_owned(), outer: None };
        unready(&found).remove(0)
    }

    /// AppArmor is on few machines that run this, so its refusal is told from recorded facts.
    #[test]
    fn the_three_refusals_of_namespaces_have_three_texts_and_three_remedies() {
        let setting = Cause::KernelSetting { setting: "user/max_user_namespaces", value: 0 };
        let told = [Cause::AppArmor, Cause::OuterSeccomp, setting].map(told);
        assert_eq!(
            told.each_ref().map(|one| one.code),
            [Code::NamespacesApparmor, Code::NamespacesSeccomp, Code::NamespacesKernel]
        );
        for (diagnostic, remedy) in
            told.iter().zip(["doctor --fix apparmor", "seccomp=unconfined", "sysctl -w user.max_"])
        {
            assert!(diagnostic.help.iter().any(|help| help.contains(remedy)), "{diagnostic:?}");
            let others = told.iter().filter(|other| other.code != diagnostic.code);
            assert!(others.clone().all(|other| other.help != diagnostic.help));
            assert!(
                others
                    .clone()
                    .all(|other| other.headline != diagnostic.headline
                        || other.why != diagnostic.why)
            );
        }
    }

    #[test]
    fn what_the_confined_backend_misses_is_told_with_its_remedy() {
        let old = Cause::OldLandlock { running: 2, least: 3 };
        let right = Cause::NoRight { right: "MKNOD" };
        for (cause, words) in [
            (Cause::NotRoot, "run kiln as root"),
            (right, "--cap-add MKNOD"),
            (old, "a newer kernel"),
            (Cause::NoDevices, "--store"),
        ] {
            let told = told(cause);
            assert_eq!(told.code, Code::BackendCannot);
            assert!(told.help.iter().any(|help| help.contains(words)), "{told:?}");
        }
    }
}

//! What the rehearsal of a step says of this host, told as a build tells it.
//!
//! `kiln doctor` and a build ask the same rehearsal and tell it with the same words.

use model::step::Step;
use sandbox::probe::{Note, Report, State};
use sandbox::{Exit, MemoryAround};

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

/// Tells of a step in whose time a process was killed for memory: by the step's own limit, or by another one.
pub fn out_of_memory(step: &Step, exit: Exit) -> Diagnostic {
    let id = &step.id;
    if exit == Exit::OutOfMemory {
        let headline = format!("step `{id}` was killed for memory");
        return Diagnostic::new(Code::OutOfMemory, headline)
            .key_below("resources", "memory")
            .help("raise `resources: {memory: …}` of the step");
    }
    let headline =
        format!("a process was killed for memory while step `{id}` ran, by no limit of its own");
    let told = Diagnostic::new(Code::OutOfMemory, headline);
    let told = match sandbox::memory_around() {
        Some(MemoryAround { folder, limit }) => told
            .got(format!("a limit of {limit} on {}", folder.display()))
            .why("kiln lies in that control group, and so do its steps")
            .help("raise that limit: `MemoryMax=` of a unit, `--memory` of a container"),
        None => told
            .why("no limit of a control group around kiln is seen here: the host had none left, or its container")
            .help("see what there is:  free -h"),
    };
    told.help("or let less run at once:  kiln build -j 1")
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

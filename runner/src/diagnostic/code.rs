//! The one table of codes: number, exit code, title.
//!
//! A code keeps its meaning for ever. One that is no longer raised stays here, and its text says so;
//! it is never given to something else. The long texts lie beside this file in `explain/`.
//!
//! Source: the command line reference, sections 3 and 4; decision 30.

use std::fmt;
use std::str::FromStr;

/// Why a command ended, as the number its process returns.
///
/// Ordered by weight: of several failures the greatest is returned (decision 30). `Usage` and
/// `Busy` end a command before it begins, so nothing but the two above them can meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// Done: 0.
    Done,
    /// A step or test failed: 1.
    Failed,
    /// Verification or policy refused: 4.
    Refused,
    /// Not reproducible: 8.
    Differs,
    /// The lock is stale, or an input's digest does not match: 3.
    Changed,
    /// Fetch or network: 6.
    Fetch,
    /// Authentication or credential: 5.
    Credential,
    /// The host cannot do what is asked: 7.
    Host,
    /// Busy, something is locked: 9.
    Busy,
    /// Wrong usage, or the build file is wrong: 2.
    Usage,
    /// Interrupted: 130.
    Interrupted,
    /// Internal error: 70.
    Internal,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Exit; 12] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Changed,
        Exit::Refused,
        Exit::Credential,
        Exit::Fetch,
        Exit::Host,
        Exit::Differs,
        Exit::Busy,
        Exit::Internal,
        Exit::Interrupted,
    ];

    /// Returns the number that the process returns.
    pub fn number(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Changed => 3,
            Exit::Refused => 4,
            Exit::Credential => 5,
            Exit::Fetch => 6,
            Exit::Host => 7,
            Exit::Differs => 8,
            Exit::Busy => 9,
            Exit::Internal => 70,
            Exit::Interrupted => 130,
        }
    }

    /// Returns what it means, for `kiln help exit-codes`.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "a step or test failed",
            Exit::Usage => "usage, or kiln.yaml is wrong",
            Exit::Changed => "lock stale, or an input's digest does not match",
            Exit::Refused => "verification or policy refused",
            Exit::Credential => "authentication or credential",
            Exit::Fetch => "fetch or network",
            Exit::Host => "the host cannot sandbox",
            Exit::Differs => "not reproducible",
            Exit::Busy => "busy, something is locked",
            Exit::Internal => "internal error",
            Exit::Interrupted => "interrupted",
        }
    }

    /// Returns whose move it is now, for `kiln help exit-codes`.
    pub fn next_move(self) -> &'static str {
        match self {
            Exit::Done => "nobody's",
            Exit::Failed => "the build's author",
            Exit::Usage => "the caller",
            Exit::Changed => "the author; look before you accept",
            Exit::Refused => "the one who wants to use the file",
            Exit::Credential => "the operator",
            Exit::Fetch => "try again; check the mirror",
            Exit::Host => "the host's owner, kiln doctor",
            Exit::Differs => "the author",
            Exit::Busy => "try again",
            Exit::Internal => "ours, with the printed report",
            Exit::Interrupted => "nobody's",
        }
    }
}

/// Returns the exit of a command that raised `codes`: the weightiest, or [`Exit::Done`] for none.
pub fn exit_code(codes: impl IntoIterator<Item = Code>) -> Exit {
    codes.into_iter().map(Code::exit).max().unwrap_or(Exit::Done)
}

macro_rules! codes {
    ($($name:ident = $number:literal, $exit:ident, $title:literal;)*) => {
        /// What went wrong, as a number that keeps its meaning for ever.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!("KILN-", stringify!($number), ": ", $title, ".")] $name,)*
        }

        impl Code {
            /// All codes, in the order of their numbers.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// Returns the number, as printed after `KILN-` with four digits.
            pub fn number(self) -> u16 {
                match self { $(Code::$name => $number),* }
            }

            /// Returns the code of a number, such as 102 for KILN-0102.
            pub fn from_number(number: u16) -> Option<Code> {
                match number { $($number => Some(Code::$name),)* _ => None }
            }

            /// Returns the exit code that it fixes.
            pub fn exit(self) -> Exit {
                match self { $(Code::$name => Exit::$exit),* }
            }

            /// Returns its meaning in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title),* }
            }
        }
    };
}

codes! {
    // 01xx: the build file.
    NotYaml = 101, Usage, "the build file cannot be read as YAML";
    UnknownKey = 102, Usage, "unknown key";
    MissingKey = 103, Usage, "a required key is absent";
    WrongType = 104, Usage, "wrong type";
    WrongValue = 105, Usage, "a value outside what is allowed";
    Duplicate = 106, Usage, "a key or name is given twice";
    NotOneKind = 107, Usage, "not exactly one kind";
    UnknownName = 108, Usage, "a name that refers to nothing";
    PathLeaves = 109, Usage, "a path leaves its root";
    Cycle = 110, Usage, "steps wait for each other";
    Placeholder = 111, Usage, "a placeholder that is unknown or not allowed here";
    Reserved = 112, Usage, "reserved, or not built yet";
    Credential = 113, Usage, "a credential in a URL or a variable";
    Collision = 114, Usage, "two things land on one path or one name";
    NoBuildFile = 115, Usage, "no build file, or one that cannot be opened";
    SourceUnfit = 116, Usage, "a source holds something that cannot be taken";
    // 02xx: the lock.
    LockAbsent = 201, Changed, "the lock is absent";
    LockStale = 202, Changed, "the lock is stale";
    LockNewer = 203, Usage, "the lock is from a newer kiln";
    LockMalformed = 204, Usage, "the lock is malformed";
    HostDiffers = 206, Changed, "a host package or path is absent, altered, or not as pinned";
    // 03xx: fetching.
    DigestMismatch = 301, Changed, "digest mismatch";
    NotFound = 302, Fetch, "an input is not found";
    FetchRefused = 303, Credential, "the other side refused";
    Offline = 304, Fetch, "offline, and not in the store";
    NoIntegrity = 305, Changed, "a lock entry without an integrity value";
    UnsafeArchive = 306, Changed, "an archive that cannot be unpacked safely";
    // 04xx: steps and outputs.
    CommandFailed = 401, Failed, "the command of a step failed";
    OutputMissing = 402, Failed, "an output is missing";
    NetworkAttempted = 403, Failed, "a step tried to reach the network";
    OutOfTime = 404, Failed, "a step ran out of time";
    OutOfMemory = 405, Failed, "a step ran out of memory";
    OutOfDisk = 406, Failed, "a step ran out of disk";
    OutputRefused = 407, Failed, "an output of a type that is refused";
    UndeclaredInput = 408, Failed, "a step needs something that is not in its sandbox";
    OutOfProcesses = 409, Failed, "a step ran out of processes";
    Interrupted = 410, Interrupted, "interrupted";
    // 05xx: the sandbox.
    NamespacesApparmor = 501, Host, "AppArmor refuses user namespaces";
    NamespacesSeccomp = 502, Host, "a seccomp filter refuses namespaces";
    NamespacesKernel = 503, Host, "a kernel setting refuses namespaces";
    LimitNotEnforced = 504, Host, "a limit cannot be enforced";
    SandboxFailed = 505, Host, "the sandbox could not be made";
    BackendCannot = 506, Host, "the backend cannot do what a step asks";
    // 06xx: the store and the host's files.
    StoreDamaged = 601, Changed, "a store object is damaged";
    StoreBusy = 602, Busy, "the store is busy";
    HostDiskFull = 603, Host, "the host's disk is full";
    StoreUnusable = 604, Host, "a file or folder of kiln's own cannot be read or written";
    NoSuchBuild = 605, Usage, "no such build, file or digest in the store";
    // 07xx: keys and attesting.
    NoKey = 701, Credential, "no key";
    DirtySource = 702, Usage, "the source is dirty";
    KeyUnreadable = 703, Credential, "the key cannot be read";
    ClaimsDisagree = 704, Credential, "claims of the CI disagree with the source or the token";
    KeyExists = 705, Usage, "a key is there already and is never overwritten";
    AttestorRefused = 706, Credential, "the attestor refused to sign";
    PredicateDerived = 707, Usage, "a predicate type that the attestor derives itself";
    SigningUnreachable = 708, Fetch, "a service that signing takes cannot be reached";
    SigningRefused = 709, Credential, "a service that signing takes refused, or its answer does not hold";
    SignedLogBroken = 710, Refused, "the log of what an attestor signed does not hold together";
    // 08xx: verifying.
    NoStatement = 801, Refused, "no statement names this digest";
    SignerNotTrusted = 802, Refused, "the signer is not trusted";
    LogEntryMissing = 803, Refused, "the log entry is missing";
    PolicyRefused = 804, Refused, "the policy refused";
    EvidenceEmpty = 805, Refused, "the evidence is empty";
    EvidenceMalformed = 806, Refused, "the evidence cannot be read";
    SignatureBroken = 807, Refused, "the signature does not hold";
    WrongKind = 808, Refused, "a statement of another kind";
    SourceDiffers = 809, Refused, "built from another source than expected";
    NotHermetic = 810, Refused, "the network was not off, or an input has no digest";
    UnknownParameter = 811, Refused, "a parameter that this verifier does not know";
    PolicyMalformed = 820, Usage, "a policy that cannot be read, or could never be met";
    SummaryRefused = 821, Refused, "a verification summary that does not say what is wanted";
    DependencyRefused = 822, Refused, "a dependency that has attestations, none of which verifies";
    CaseFailed = 823, Failed, "a case of a policy's table came out otherwise";
    // 09xx: rebuilding.
    OutputsDiffer = 901, Differs, "outputs differ";
    // 99xx: us.
    Internal = 9901, Internal, "internal error";
}

/// A text that names no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no code of the form KILN-0102")]
pub struct UnknownCode;

impl fmt::Display for Code {
    /// Prints `KILN-` and four digits.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KILN-{:04}", self.number())
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    /// Reads `KILN-0102`, in any case, with or without `KILN-` and leading zeros.
    fn from_str(text: &str) -> Result<Code, UnknownCode> {
        let upper = text.trim().to_ascii_uppercase();
        let digits = upper.strip_prefix("KILN-").unwrap_or(&upper);
        let plain = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u16 = if plain { digits.parse().ok() } else { None }.ok_or(UnknownCode)?;
        Code::from_number(number).ok_or(UnknownCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_go_round() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        for code in Code::ALL {
            assert_eq!(code.to_string().parse(), Ok(*code));
            assert_eq!(code.number().to_string().parse(), Ok(*code));
            assert_eq!(Code::from_number(code.number()), Some(*code));
        }
        for bad in ["", "KILN-", "0100", "102x", "-102", "KILN-KILN-102", "00102"] {
            assert_eq!(bad.parse::<Code>(), Err(UnknownCode), "{bad}");
        }
    }

    #[test]
    fn several_failures_end_with_the_weightiest() {
        use Code as C;
        let order: [(C, u8); 11] = [
            (C::Internal, 70),
            (C::Interrupted, 130),
            (C::NotYaml, 2),
            (C::StoreBusy, 9),
            (C::SandboxFailed, 7),
            (C::NoKey, 5),
            (C::NotFound, 6),
            (C::LockStale, 3),
            (C::OutputsDiffer, 8),
            (C::PolicyRefused, 4),
            (C::CommandFailed, 1),
        ];
        for (index, (code, number)) in order.iter().enumerate() {
            assert_eq!(code.exit().number(), *number);
            let rest = order[index..].iter().rev().map(|(code, _)| *code);
            assert_eq!(exit_code(rest).number(), *number, "{code}");
        }
        assert_eq!(exit_code([]), Exit::Done);
    }

    #[test]
    fn exits_are_the_numbers_written_once() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|exit| exit.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 70, 130]);
    }
}

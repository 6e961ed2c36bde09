//! `Platform`: operating system and architecture, by OCI's names (decision 28).
//!
//! Source: OCI image specification, "image index", `platform`, which takes them from Go.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operating system and an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// The operating system.
    pub os: Os,
    /// The processor architecture.
    pub arch: Arch,
}

/// Operating systems that kiln builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Os {
    /// Linux.
    Linux,
}

/// Architectures that kiln builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Platform {
    /// The platform this program was compiled for; builds run on it.
    pub const HERE: Platform = Platform {
        os: Os::Linux,
        arch: if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 },
    };
}

impl fmt::Display for Os {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Os::Linux => out.write_str("linux"),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arch::Amd64 => out.write_str("amd64"),
            Arch::Arm64 => out.write_str("arm64"),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.os, self.arch)
    }
}

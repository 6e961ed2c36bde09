//! The names a package goes by: name, version, architecture, package URL.
//!
//! Each is checked once, where the database or the build file is read, so that a name can become
//! part of a file name or a URL without a second look.
//!
//! Does no I/O.
//!
//! Formats: Debian Policy, sections 5.6.1, 5.6.7, 5.6.12; dpkg(1) for the letters it accepts;
//! package URLs: ECMA-427, type `deb`.

use std::fmt;

/// Longest name, version or architecture, in bytes: each becomes part of a file name.
pub const TEXT_BYTES_MAX: usize = 200;

/// A package's name: letters, digits and `+-._`, the first a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

/// A package's version: letters, digits and `.+-:~`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(String);

/// A Debian architecture, such as `amd64` or `all`: letters, digits and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arch(String);

/// A package URL, such as `pkg:deb/debian/make@4.3-4.1?arch=amd64`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purl(String);

/// The identifier of the distribution, as in os-release: `[a-z0-9._-]+`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distribution(String);

/// A package as a build file asks for it: `NAME` or `NAME:ARCH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskedPackage {
    /// Its name.
    pub name: PackageName,
    /// Its architecture; none is the host's own.
    pub arch: Option<Arch>,
}

/// Why a text is no name, version or architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text is empty or longer than [`TEXT_BYTES_MAX`].
    #[error("is empty or longer than {TEXT_BYTES_MAX} bytes")]
    Length,
    /// The text has a letter that does not belong there.
    #[error("has a letter that is not allowed there")]
    Letter,
}

fn check(text: &str, good: impl Fn(u8) -> bool) -> Result<String, TextError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(TextError::Length);
    }
    if !text.bytes().all(good) {
        return Err(TextError::Letter);
    }
    Ok(text.to_owned())
}

impl PackageName {
    /// Checks a name.
    ///
    /// # Errors
    /// Refuses what dpkg would not take for a name.
    pub fn new(text: &str) -> Result<PackageName, TextError> {
        if text.starts_with(|letter: char| !letter.is_ascii_alphanumeric()) {
            return Err(TextError::Letter);
        }
        check(text, |byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte)).map(PackageName)
    }
}

impl Version {
    /// Checks a version.
    ///
    /// # Errors
    /// Refuses letters that no Debian version has.
    pub fn new(text: &str) -> Result<Version, TextError> {
        check(text, |byte| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte)).map(Version)
    }
}

impl Arch {
    /// Checks an architecture.
    ///
    /// # Errors
    /// Refuses anything but letters, digits and `-`.
    pub fn new(text: &str) -> Result<Arch, TextError> {
        check(text, |byte| byte.is_ascii_alphanumeric() || byte == b'-').map(Arch)
    }
}

impl Distribution {
    /// Checks an identifier.
    ///
    /// # Errors
    /// Refuses anything but lower-case letters, digits and `._-`.
    pub fn new(text: &str) -> Result<Distribution, TextError> {
        check(text, |byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
        .map(Distribution)
    }
}

impl AskedPackage {
    /// Checks `NAME` or `NAME:ARCH`.
    ///
    /// # Errors
    /// Refuses what is neither.
    pub fn new(text: &str) -> Result<AskedPackage, TextError> {
        Ok(match text.split_once(':') {
            Some((name, arch)) => {
                AskedPackage { name: PackageName::new(name)?, arch: Some(Arch::new(arch)?) }
            }
            None => AskedPackage { name: PackageName::new(text)?, arch: None },
        })
    }
}

impl Purl {
    /// Names a package of a distribution.
    pub(super) fn of(
        distribution: &Distribution,
        name: &PackageName,
        version: &Version,
        arch: &Arch,
    ) -> Purl {
        let (name, version) = (percent(&name.0), percent(&version.0));
        Purl(format!("pkg:deb/{distribution}/{name}@{version}?arch={arch}"))
    }
}

/// Escapes all but letters, digits, `.-_~` and `:`, which package URLs never escape.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl fmt::Display for AskedPackage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arch {
            Some(arch) => write!(out, "{}:{arch}", self.name),
            None => write!(out, "{}", self.name),
        }
    }
}

macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl $type {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:?}", self.0)
            }
        }
    )*};
}
as_text!(PackageName, Version, Arch, Purl, Distribution);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purls_are_escaped_as_the_standard_says() {
        let debian = Distribution::new("debian").unwrap();
        for (name, version, arch, purl) in [
            ("gcc", "4:12.2.0-3", "amd64", "pkg:deb/debian/gcc@4:12.2.0-3?arch=amd64"),
            (
                "libstdc++6",
                "12.2.0-14+deb12u1",
                "amd64",
                "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64",
            ),
            ("netbase", "6.4~rc1", "all", "pkg:deb/debian/netbase@6.4~rc1?arch=all"),
        ] {
            let made = Purl::of(
                &debian,
                &PackageName::new(name).unwrap(),
                &Version::new(version).unwrap(),
                &Arch::new(arch).unwrap(),
            );
            assert_eq!(made.as_str(), purl);
        }
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for bad in ["", "..", ".a", "a/b", "a b", "-a", "a\0", "é", &"a".repeat(201)] {
            assert!(PackageName::new(bad).is_err(), "{bad}");
            assert!(AskedPackage::new(bad).is_err(), "{bad}");
        }
        assert!(AskedPackage::new("a:").is_err() && AskedPackage::new("a:b/c").is_err());
        assert_eq!(AskedPackage::new("libc6:i386").unwrap().to_string(), "libc6:i386");
    }
}

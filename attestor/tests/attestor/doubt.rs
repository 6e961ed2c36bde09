//! Packages and versions in doubt: denied where a rule denies their like, and allowed by none.

use crate::forger::{Forger, statement};
use crate::policy::{ask, bundle, dependency, rules};

/// Returns which rules about dependencies refuse a statement with this input.
fn came(policy: &str, uri: &str) -> Vec<String> {
    let mut changed = statement();
    dependency(&mut changed, uri, "environment");
    let policy = format!("policy: 1\ndependencies: {policy}\n");
    rules(ask(&policy, &[bundle(&Forger::p256(1), &changed)]))
}

/// What some reader takes for a denied package, or for one whose version nobody can compare, is denied in
/// doubt; honest packages pass, and a name is no way around for what is allowed.
#[test]
fn what_may_be_a_denied_package_is_denied_in_doubt() {
    let deny = "{deny: [{purl: \"pkg:deb/debian/xz-utils\", version: \">=5.6.0, <5.6.2\"}]}";
    for uri in [
        "pkg:deb/debian/xz-utils@",
        "pkg:deb/debian/xz-utils@5.6.0%zz",
        "pkg:deb/debian/xz-utils@5.6.0@1",
        "pkg:deb/debian/xz-utils@v5.6.0",
        "pkg:deb/debian/xz-utils@latest",
        "pkg:deb/debian/xz-utils@4294967296:5.6.0",
        "pkg:deb//debian/xz-utils@5.6.0",
        "pkg://deb/debian//xz-utils/@5.6.0",
        "PKG:deb/debian/xz-utils@5.6.0",
        " pkg:deb/debian/xz-utils@5.6.0",
        "\u{feff}pkg:deb/debian/xz-utils@5.6.0",
        "pkg:DEB/Debian/XZ-utils@5.6.0",
        "pkg:%64eb/debian/xz-utils@5.6.0",
        "pkg:deb/debian%2Fxz-utils@5.6.0",
        "pkg:deb/debian/xz-utils%20@5.6.0",
        "pkg:deb/debian/xz-utils@5.6.0/1",
        "pkg:deb/debian/xz%2Dutils@5.6.0?arch=amd64#x",
    ] {
        assert_eq!(came(deny, uri), ["dependencies.deny"], "{uri}");
    }
    for uri in [
        "pkg:deb/debian/gcc@4:12.2.0-3?arch=amd64",
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64",
        "pkg:deb/debian/netbase@6.4~rc1?arch=all",
        "pkg:deb/debian/xz-utils@5.4.1-0.2?arch=amd64",
        "pkg:npm/%40scope/name@1.0.0",
        "https://a.example/pkg:deb/debian/xz-utils@5.6.0",
    ] {
        assert!(came(deny, uri).is_empty(), "{uri}");
    }
    let allow = "{allow: [{name: \"*\"}, {purl: \"pkg:deb/debian/*\"}]}";
    assert_eq!(came(allow, "pkg:deb/debian/x@%zz"), ["dependencies.allow"]);
    assert!(came(allow, "pkg:deb/debian/x@1").is_empty());
}

/// A version that is written otherwise, or whose order nobody here knows, is no way around a range: `1.2` is `1.2.0`
/// to every installer, and `2.0.0rc1` comes before `2.0.0` for some and after it for others.
#[test]
fn a_version_in_doubt_is_denied_and_not_allowed() {
    for kind in ["pypi", "gem", "cargo", "npm", "golang/host", "*"] {
        let name = kind.replace('*', "nuget");
        let deny =
            format!("{{deny: [{{purl: \"pkg:{kind}/evil\", version: \">=1.2.0, <2.0.0\"}}]}}");
        let allow = format!(
            "{{allow: [{{name: \"*\"}}, {{purl: \"pkg:deb/debian/*\"}}, {{purl: \"pkg:{kind}/evil\", version: \"<2.0.0\"}}]}}"
        );
        for version in ["1.2", "1.2.0.0", "1.2.0", "1.9", "1.2.0rc1", "2.0.0rc1", "2.0.0_1"] {
            let uri = format!("pkg:{name}/evil@{version}");
            assert_eq!(came(&deny, &uri), ["dependencies.deny"], "{uri}");
        }
        for version in ["2", "2.0", "2.0.0.0", "2.0.0rc1", "1.0_1", "1.0~x"] {
            let uri = format!("pkg:{name}/evil@{version}");
            assert_eq!(came(&allow, &uri), ["dependencies.allow"], "{uri}");
        }
        for (policy, version) in [(&deny, "1.1"), (&deny, "2.0"), (&allow, "1.9"), (&allow, "0")] {
            let uri = format!("pkg:{name}/evil@{version}");
            assert!(came(policy, &uri).is_empty(), "{uri}");
        }
    }
    // Where the order is known exactly, a pre-release is in no doubt.
    let deny = "{deny: [{purl: \"pkg:npm/evil\", version: \">=1.2.0, <2.0.0\"}]}";
    assert_eq!(came(deny, "pkg:npm/evil@2.0.0-rc.1"), ["dependencies.deny"]);
    assert!(came(deny, "pkg:npm/evil@1.2.0-rc.1").is_empty());
    let deny = deny.replace("npm", "pypi");
    assert_eq!(came(&deny, "pkg:pypi/evil@1.2.0-rc.1"), ["dependencies.deny"]);
    // A deb package keeps dpkg's order under a pattern of any type.
    let deny = "{deny: [{purl: \"pkg:*/debian/evil\", version: \"<1.2\"}]}";
    assert_eq!(came(deny, "pkg:deb/debian/evil@1.2~rc1-1"), ["dependencies.deny"]);
    assert!(came(deny, "pkg:deb/debian/evil@1.3~rc1-1").is_empty());
}

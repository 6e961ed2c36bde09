//! Observes hosts made up for the purpose: each rule of the database, and each way to break one.
//!
//! A host here is a folder with a dpkg database of a few packages, written by the test. Nothing of
//! this machine is looked at, so the tests hold on any Linux.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]
#![expect(clippy::disallowed_methods, reason = "scratch files are written")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use fetch::checksum::Md5Sum;
use fetch::host::{
    Asked, AskedPackage, AskedPath, ClosureError, ContentsError, Entry, EntryKind, Error,
    Forbidden, Observation, PathsError, Why, observe, observe_paths, stamp,
};
use model::AbsPath;

/// A made-up host. Every package is given as its stanza without `Status`, and its files.
struct Host {
    root: tempfile::TempDir,
    status: String,
}

impl Host {
    /// A host with the links of a merged `/usr` and one Essential package, `base`, that has a shell.
    fn new() -> Host {
        let mut host = Host::bare();
        fs::create_dir_all(host.at("usr/bin")).unwrap();
        fs::create_dir_all(host.at("usr/lib")).unwrap();
        symlink("usr/bin", host.at("bin")).unwrap();
        symlink("usr/lib", host.at("lib")).unwrap();
        host.package(
            "Package: base\nEssential: yes\nVersion: 1",
            &["/.", "/bin", "/bin/sh", "/usr", "/usr/bin"],
        );
        host
    }

    /// A host without anything but an os-release.
    fn bare() -> Host {
        let host = Host { root: tempfile::tempdir().unwrap(), status: String::new() };
        fs::set_permissions(host.at(""), fs::Permissions::from_mode(0o755)).unwrap();
        host.write("usr/lib/os-release", "NAME=Small\nID=\"small\"\n");
        host
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Installs a package: writes its list, and every listed file that is not there and not a folder
    /// of another.
    fn package(&mut self, stanza: &str, list: &[&str]) {
        self.package_in_state(stanza, list, "install ok installed");
    }

    fn package_in_state(&mut self, stanza: &str, list: &[&str], state: &str) {
        let name = stanza.lines().find_map(|line| line.strip_prefix("Package: ")).unwrap();
        let field =
            |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let arch = field("Architecture:").unwrap_or("amd64");
        let given = if stanza.contains("Architecture:") { "" } else { "\nArchitecture: amd64" };
        self.status.push_str(&format!("{stanza}{given}\nStatus: {state}\n\n"));
        let file = if stanza.contains("Multi-Arch: same") {
            format!("{name}:{arch}")
        } else {
            name.to_owned()
        };
        self.write(&format!("var/lib/dpkg/info/{file}.list"), &format!("{}\n", list.join("\n")));
        for path in list.iter().filter(|path| **path != "/.") {
            let folder = list.iter().any(|other| other.starts_with(&format!("{path}/")));
            if self.at(&path[1..]).symlink_metadata().is_err() {
                if folder {
                    fs::create_dir_all(self.at(&path[1..])).unwrap()
                } else {
                    self.write(&path[1..], path)
                }
            }
        }
    }

    fn observe(&self, packages: &[&str]) -> Result<Observation, Error> {
        self.observe_asked(&asked(packages, vec![]))
    }

    fn observe_asked(&self, asked: &Asked) -> Result<Observation, Error> {
        if !self.status.is_empty() {
            self.write("var/lib/dpkg/status", &self.status);
        }
        observe(asked, self.root.path())
    }
}

fn asked(packages: &[&str], paths: Vec<AskedPath>) -> Asked {
    let packages = packages.iter().map(|name| AskedPackage::new(name).unwrap()).collect();
    Asked::new(packages, paths, Forbidden::default()).unwrap()
}

fn path(from: &str, at: Option<&str>, path_prefix: bool) -> AskedPath {
    AskedPath {
        from: AbsPath::new(from).unwrap(),
        at: at.map(|at| AbsPath::new(at).unwrap()),
        path_prefix,
    }
}

fn names(observation: &Observation) -> Vec<&str> {
    observation.packages.iter().map(|package| package.name.as_str()).collect()
}

fn entries(observation: &Observation) -> impl Iterator<Item = &Entry> {
    observation.packages.iter().flat_map(|package| &package.entries).chain(&observation.unpackaged)
}

fn find<'o>(observation: &'o Observation, at: &str) -> Option<&'o EntryKind> {
    entries(observation).find(|entry| entry.at.as_str() == at).map(|entry| &entry.kind)
}

fn link(target: &str) -> EntryKind {
    EntryKind::Symlink { target: target.to_owned() }
}

fn why(observation: &Observation, at: &str) -> Option<Why> {
    observation.omitted.iter().find(|omitted| omitted.at.as_str() == at).map(|omitted| omitted.why)
}

#[test]
fn the_essential_set_is_always_there_and_nothing_else() {
    let mut host = Host::new();
    host.package("Package: other\nVersion: 1", &["/usr/bin/other"]);
    host.write("usr/bin/nobodys", "x");
    host.write("etc/passwd", "secret:x:0:0::/:/bin/sh\n");
    host.write("etc/machine-id", "1\n");
    let found = host.observe(&[]).unwrap();
    assert_eq!(names(&found), ["base"]);
    assert_eq!(found.packages[0].purl.as_str(), "pkg:deb/small/base@1?arch=amd64");
    assert!(matches!(find(&found, "usr/bin/sh"), Some(EntryKind::File { executable: false, .. })));
    for absent in ["usr/bin/other", "usr/bin/nobodys", "etc/machine-id", "bin/sh"] {
        assert_eq!(find(&found, absent), None, "{absent}");
    }
    let Some(EntryKind::Synthetic { bytes, .. }) = find(&found, "etc/passwd") else {
        panic!("no passwd")
    };
    assert!(
        bytes.starts_with(
            b"root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:1000:build:/build:/bin/sh\n"
        )
    );
}

#[test]
fn folders_that_are_links_stand_beside_the_files_behind_them() {
    let found = Host::new().observe(&[]).unwrap();
    assert_eq!(find(&found, "bin"), Some(&link("usr/bin")));
    assert!(found.packages[0].entries.iter().all(|entry| entry.at.as_str() != "bin"));
    assert_eq!(find(&found, "lib"), None, "no package has anything behind it");
}

#[test]
fn the_closure_follows_alternatives_virtual_names_and_architectures() {
    let mut host = Host::new();
    for (stanza, file) in [
        (
            "Package: tool\nVersion: 1\nDepends: gone | lib (>= 2) | lib-new, virtual, any-tool:any\nPre-Depends: first",
            "/usr/bin/tool",
        ),
        ("Package: lib\nVersion: 1", "/usr/lib/lib"),
        ("Package: lib-new\nVersion: 9", "/usr/lib/lib-new"),
        ("Package: z-provider\nVersion: 1\nProvides: virtual", "/usr/lib/z"),
        ("Package: a-provider\nVersion: 1\nProvides: virtual (= 3)", "/usr/lib/a"),
        ("Package: any-tool\nVersion: 1\nMulti-Arch: allowed\nArchitecture: i386", "/usr/bin/any"),
        ("Package: first\nVersion: 1\nArchitecture: all\nDepends: tool", "/usr/lib/first"),
        ("Package: recommended\nVersion: 1", "/usr/lib/recommended"),
    ] {
        host.package(stanza, &[file]);
    }
    let found = host.observe(&["tool"]).unwrap();
    assert_eq!(names(&found), ["a-provider", "any-tool", "base", "first", "lib-new", "tool"]);
    let found = host.observe(&["tool", "z-provider"]).unwrap();
    assert_eq!(
        names(&found),
        ["any-tool", "base", "first", "lib-new", "tool", "z-provider"],
        "an asked provider goes first"
    );
    let again = host.observe(&["z-provider", "tool", "tool"]).unwrap();
    assert_eq!(found.packages, again.packages, "the order asked does not matter");
}

#[test]
fn what_is_not_installed_is_named_with_what_was_perhaps_meant() {
    let mut host = Host::new();
    host.package("Package: make\nVersion: 1", &["/usr/bin/make"]);
    host.package("Package: gcc-12\nVersion: 1\nProvides: c-compiler", &["/usr/bin/gcc-12"]);
    host.package_in_state("Package: purged\nVersion: 1", &[], "deinstall ok config-files");
    for (wanted, near) in [
        ("mak", vec!["make"]),
        ("gcc", vec!["gcc-12"]),
        ("c-compiler", vec!["gcc-12"]),
        ("purged", vec![]),
    ] {
        match host.observe(&[wanted]) {
            Err(Error::Closure(ClosureError::NotInstalled { package, nearest })) => {
                assert_eq!(package.to_string(), wanted);
                assert_eq!(nearest.iter().map(|name| name.as_str()).collect::<Vec<_>>(), near);
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }
    assert!(matches!(
        host.observe(&["make:arm64"]),
        Err(Error::Closure(ClosureError::NotInstalled { .. }))
    ));
    assert_eq!(names(&host.observe(&["make:amd64"]).unwrap()), ["base", "make"]);
}

#[test]
fn a_package_dpkg_has_not_finished_is_refused_only_if_needed() {
    let mut host = Host::new();
    host.package_in_state(
        "Package: half\nVersion: 1",
        &["/usr/bin/half"],
        "install ok half-configured",
    );
    host.package_in_state("Package: held\nVersion: 1", &["/usr/bin/held"], "hold ok installed");
    host.package("Package: user\nVersion: 1\nDepends: half", &["/usr/bin/user"]);
    host.package("Package: broken\nVersion: 1\nDepends: nowhere", &["/usr/bin/broken"]);
    assert_eq!(names(&host.observe(&["held"]).unwrap()), ["base", "held"]);
    let refused = host.observe(&["user"]);
    assert!(
        matches!(&refused, Err(Error::Closure(ClosureError::Unfinished { package, state })) if &**package == "half" && &**state == "half-configured"),
        "{refused:?}"
    );
    let refused = host.observe(&["broken"]);
    assert!(
        matches!(&refused, Err(Error::Closure(ClosureError::Unmet { needs, .. })) if &**needs == "nowhere"),
        "{refused:?}"
    );
    host.write("var/lib/dpkg/updates/0001", "");
    assert!(matches!(host.observe(&[]), Err(Error::Interrupted { .. })));
}

#[test]
fn checksums_are_expected_where_the_package_has_them() {
    let mut host = Host::new();
    host.package(
        "Package: p\nVersion: 1\nConffiles:\n /etc/p.conf 00000000000000000000000000000000",
        &["/bin/p", "/etc/p.conf", "/usr/lib/q"],
    );
    let sum = Md5Sum::of(b"published");
    host.write(
        "var/lib/dpkg/info/p.md5sums",
        &format!("{sum}  bin/p\n{sum}  etc/p.conf\nnot a sum\n"),
    );
    fs::set_permissions(host.at("usr/bin/p"), fs::Permissions::from_mode(0o4755)).unwrap();
    let found = host.observe(&["p"]).unwrap();
    for (at, executable, expected_md5) in
        [("usr/bin/p", true, Some(sum)), ("etc/p.conf", false, None), ("usr/lib/q", false, None)]
    {
        assert_eq!(
            find(&found, at),
            Some(&EntryKind::File { from: host.at(at), executable, expected_md5 }),
            "{at}"
        );
    }
}

#[test]
fn diverted_files_lie_where_the_diversion_says() {
    let mut host = Host::new();
    host.package("Package: keeper\nVersion: 1", &["/usr/bin/tool"]);
    host.package("Package: diverted\nVersion: 1", &["/usr/bin/tool"]);
    host.write("usr/bin/tool.distrib", "diverted");
    host.write("var/lib/dpkg/diversions", "/usr/bin/tool\n/usr/bin/tool.distrib\nkeeper\n");
    let found = host.observe(&["keeper", "diverted"]).unwrap();
    let of = |name: &str| {
        let package = found.packages.iter().find(|package| package.name.as_str() == name).unwrap();
        package.entries.iter().map(|entry| entry.at.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("keeper"), ["usr/bin/tool"]);
    assert_eq!(of("diverted"), ["usr/bin/tool.distrib"]);
}

#[test]
fn a_file_of_two_packages_has_one_owner_or_is_refused() {
    let mut host = Host::new();
    host.package("Package: new\nVersion: 1\nReplaces: old (<< 1)", &["/usr/lib/moved"]);
    host.package("Package: old\nVersion: 1", &["/usr/lib/moved", "/usr/lib/own"]);
    let both = "Multi-Arch: same\nArchitecture:";
    host.package(&format!("Package: multi\nVersion: 1\n{both} amd64"), &["/usr/lib/shared"]);
    host.package(&format!("Package: multi\nVersion: 1\n{both} i386"), &["/usr/lib/shared"]);
    let found = host.observe(&["new", "old", "multi", "multi:i386"]).unwrap();
    let owners = |at: &str| {
        let has = |entries: &[Entry]| entries.iter().any(|entry| entry.at.as_str() == at);
        let packages = found.packages.iter().filter(|package| has(&package.entries));
        packages.map(|package| format!("{}:{}", package.name, package.arch)).collect::<Vec<_>>()
    };
    assert_eq!(owners("usr/lib/moved"), ["new:amd64"]);
    assert_eq!(owners("usr/lib/shared"), ["multi:amd64"]);
    assert_eq!(why(&found, "usr/lib/moved"), Some(Why::Superseded));
    host.package("Package: thief\nVersion: 1", &["/usr/lib/own"]);
    assert!(matches!(host.observe(&["old", "thief"]), Err(Error::Ownership(_))));
}

#[test]
fn missing_documentation_is_no_matter_and_a_missing_program_is() {
    let mut host = Host::new();
    host.package(
        "Package: p\nVersion: 1\nConffiles:\n /etc/p.conf 0",
        &["/usr/share/doc/p/manual", "/etc/p.conf", "/usr/bin/p", "/usr/lib/games/x"],
    );
    host.write("etc/dpkg/dpkg.cfg.d/slim", "path-exclude=/usr/lib/games/*\n");
    for gone in ["usr/share/doc/p/manual", "etc/p.conf", "usr/lib/games/x"] {
        fs::remove_file(host.at(gone)).unwrap();
    }
    let found = host.observe(&["p"]).unwrap();
    assert_eq!(why(&found, "usr/share/doc/p/manual"), Some(Why::Documentation));
    assert_eq!(why(&found, "etc/p.conf"), Some(Why::Configuration));
    assert_eq!(why(&found, "usr/lib/games/x"), Some(Why::PathExclude));
    fs::remove_file(host.at("usr/bin/p")).unwrap();
    let refused = host.observe(&["p"]);
    assert!(
        matches!(&refused, Err(Error::Contents(ContentsError::Missing { path, .. })) if path == Path::new("/usr/bin/p")),
        "{refused:?}"
    );
}

#[test]
fn secrets_devices_and_kilns_places_stay_out() {
    let mut host = Host::new();
    host.package(
        "Package: p\nVersion: 1",
        &["/etc/secret", "/var/closed/in", "/run/p/x", "/proc/x", "/etc/shadow", "/usr/bin/p"],
    );
    fs::set_permissions(host.at("etc/secret"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(host.at("var/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let found = host.observe(&["p"]).unwrap();
    for (at, expected) in [
        ("etc/secret", Why::NotForEverybody),
        ("var/closed/in", Why::NotForEverybody),
        ("run/p/x", Why::KilnsOwn),
        ("proc/x", Why::KilnsOwn),
        ("etc/shadow", Why::Replaced),
    ] {
        assert_eq!((why(&found, at), find(&found, at)), (Some(expected), None), "{at}");
    }
    fs::remove_file(host.at("usr/bin/p")).unwrap();
    let _socket = UnixListener::bind(host.at("usr/bin/p")).unwrap();
    assert!(matches!(host.observe(&["p"]), Err(Error::Contents(ContentsError::Special { .. }))));
}

#[test]
fn a_list_cannot_lead_out_of_the_root() {
    let mut host = Host::new();
    host.package("Package: p\nVersion: 1", &["/usr/bin/p"]);
    symlink("/../../../../etc", host.at("usr/out")).unwrap();
    host.write("etc/inside", "x");
    host.write(
        "var/lib/dpkg/info/p.list",
        "/usr/bin/../../../../../../etc/inside\n/usr/out/inside\n/usr/..\n",
    );
    let found = host.observe(&["p"]).unwrap();
    let package = found.packages.iter().find(|package| package.name.as_str() == "p").unwrap();
    let places: Vec<_> = package.entries.iter().map(|entry| entry.at.as_str()).collect();
    assert_eq!(places, ["etc/inside"]);
}

#[test]
fn alternatives_are_there_with_their_program() {
    let mut host = Host::new();
    host.package("Package: gcc\nVersion: 1", &["/usr/bin/gcc", "/usr/bin/c99-gcc"]);
    host.package("Package: clang\nVersion: 1", &["/usr/bin/clang"]);
    host.write("var/lib/dpkg/alternatives/cc", "auto\n/usr/bin/cc\nc99\n/bin/c99\n\n/usr/bin/clang\n30\n\n/bin/gcc\n20\n/usr/bin/c99-gcc\n\n");
    fs::create_dir_all(host.at("etc/alternatives")).unwrap();
    symlink("/usr/bin/clang", host.at("etc/alternatives/cc")).unwrap();
    let found = host.observe(&["gcc"]).unwrap();
    assert_eq!(find(&found, "usr/bin/cc"), Some(&link("/etc/alternatives/cc")));
    assert_eq!(find(&found, "etc/alternatives/cc"), Some(&link("/bin/gcc")));
    assert_eq!(find(&found, "usr/bin/c99"), Some(&link("/etc/alternatives/c99")));
    let found = host.observe(&["gcc", "clang"]).unwrap();
    assert_eq!(find(&found, "etc/alternatives/cc"), Some(&link("/usr/bin/clang")));
    assert_eq!(find(&found, "usr/bin/c99"), None);
    assert_eq!(find(&host.observe(&[]).unwrap(), "usr/bin/cc"), None);
}

#[test]
fn certificates_come_with_their_package_and_the_hosts_own_do_not() {
    let mut host = Host::new();
    host.package(
        "Package: ca-certificates\nVersion: 1",
        &["/etc/ssl/certs", "/usr/share/ca-certificates/A.crt"],
    );
    fs::remove_file(host.at("etc/ssl/certs")).unwrap();
    host.write("etc/ssl/certs/ca-certificates.crt", "bundle");
    host.write("etc/ssl/certs/own.pem", "of the host");
    symlink("/usr/share/ca-certificates/A.crt", host.at("etc/ssl/certs/z.pem")).unwrap();
    symlink("z.pem", host.at("etc/ssl/certs/1234.0")).unwrap();
    symlink("own.pem", host.at("etc/ssl/certs/5678.0")).unwrap();
    let found = host.observe(&["ca-certificates"]).unwrap();
    let below: Vec<_> = found
        .unpackaged
        .iter()
        .map(|entry| entry.at.as_str())
        .filter(|at| at.starts_with("etc/ssl/"))
        .collect();
    assert_eq!(
        below,
        ["etc/ssl/certs/1234.0", "etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/z.pem"]
    );
    assert_eq!(find(&host.observe(&[]).unwrap(), "etc/ssl/certs/ca-certificates.crt"), None);
}

#[test]
fn folders_by_path_are_listed_whole_and_prefix_the_path() {
    let host = Host::new();
    host.write("home/u/.rustup/toolchains/x/bin/rustc", "rustc");
    host.write("opt/flat/tool", "tool");
    host.write("opt/one", "one");
    fs::set_permissions(host.at("home/u"), fs::Permissions::from_mode(0o700)).unwrap();
    let rust = "/home/u/.rustup/toolchains/x";
    let request = asked(
        &[],
        vec![
            path(rust, Some("/opt/rust"), true),
            path("/opt/flat", None, true),
            path("/opt/one", Some("/bin/one"), false),
        ],
    );
    let found = host.observe_asked(&request).unwrap();
    let shown: Vec<_> = found.path_prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["/opt/rust/bin", "/opt/flat"]);
    let places: Vec<Vec<_>> = found
        .paths
        .iter()
        .map(|path| path.entries.iter().map(|entry| entry.at.as_str()).collect())
        .collect();
    assert_eq!(places[0], ["opt/rust", "opt/rust/bin", "opt/rust/bin/rustc"]);
    assert_eq!(places[2], ["usr/bin/one"], "behind the link of the merged /usr");
    assert_eq!(
        observe_paths(&request, host.root.path()).unwrap(),
        (found.paths, found.path_prefixes)
    );
}

#[test]
fn paths_that_hide_or_lead_elsewhere_are_refused() {
    let host = Host::new();
    host.write("opt/x/sh", "not the shell");
    fs::create_dir_all(host.at("proc/1")).unwrap();
    fs::create_dir_all(host.at("home/u/x")).unwrap();
    symlink("../proc", host.at("opt/kernel")).unwrap();
    symlink("/home", host.at("opt/homes")).unwrap();
    symlink("x", host.at("opt/link")).unwrap();
    let refused = |path| match host.observe_asked(&asked(&[], vec![path])) {
        Err(Error::Paths(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        refused(path("/opt/x/sh", Some("/usr/bin/sh"), false)),
        PathsError::Hides { .. }
    ));
    assert!(matches!(refused(path("/opt/x", Some("/usr/bin"), false)), PathsError::Hides { .. }));
    assert!(matches!(
        refused(path("/opt/x", Some("/bin/sh/below"), false)),
        PathsError::Hides { .. }
    ));
    assert!(matches!(refused(path("/opt/x", Some("/bin"), false)), PathsError::Hides { .. }));
    assert!(matches!(
        refused(path("/opt/x", Some("/etc/passwd"), false)),
        PathsError::Hides { .. }
    ));
    assert!(matches!(refused(path("/opt/kernel/1", None, false)), PathsError::Forbidden { .. }));
    assert!(matches!(refused(path("/opt/homes/u", None, false)), PathsError::Forbidden { .. }));
    assert!(matches!(refused(path("/opt/link", None, false)), PathsError::Link { .. }));
    assert!(matches!(refused(path("/opt/none", None, false)), PathsError::Absent { .. }));
    assert!(matches!(refused(path("/opt/x/sh", None, true)), PathsError::NoFolder { .. }));
    let merged = asked(
        &[],
        vec![path("/opt/x", Some("/opt/y"), false), path("/opt/x", Some("/opt/y"), false)],
    );
    assert!(matches!(host.observe_asked(&merged), Err(Error::Paths(PathsError::Hides { .. }))));
}

#[test]
fn paths_alone_work_without_a_package_database() {
    let host = Host::bare();
    host.write("usr/bin/tool", "tool");
    symlink("usr/bin", host.at("bin")).unwrap();
    let found = host.observe_asked(&asked(&[], vec![path("/usr/bin", None, false)])).unwrap();
    assert!(found.packages.is_empty());
    let places: Vec<_> = found.unpackaged.iter().map(|entry| entry.at.as_str()).collect();
    assert_eq!(
        places,
        [
            "bin",
            "etc/group",
            "etc/hostname",
            "etc/hosts",
            "etc/nsswitch.conf",
            "etc/passwd",
            "etc/resolv.conf"
        ]
    );
    for request in [asked(&[], vec![]), asked(&["make"], vec![path("/usr/bin", None, false)])] {
        assert!(matches!(host.observe_asked(&request), Err(Error::NoDatabase { .. })));
    }
}

#[test]
fn the_stamp_changes_with_the_database_and_the_request() {
    let mut host = Host::new();
    host.package("Package: p\nVersion: 1", &["/usr/bin/p"]);
    let first = host.observe(&["p"]).unwrap().stamp;
    let now = |packages: &[&str]| stamp(&asked(packages, vec![]), host.root.path()).unwrap();
    assert_eq!(now(&["p"]), first);
    assert_ne!(now(&[]), first);
    host.write("usr/bin/nobodys", "x");
    assert_eq!(now(&["p"]), first, "files outside the database are no part of it");
    fs::rename(host.at("var/lib/dpkg/info/p.list"), host.at("var/lib/dpkg/info/q.list")).unwrap();
    let renamed = now(&["p"]);
    assert_ne!(renamed, first);
    host.write("var/lib/dpkg/diversions", "");
    assert_ne!(now(&["p"]), renamed);
}

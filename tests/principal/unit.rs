//! The unit that ships lets the attestor do what it is for, and the page that describes it says the same.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ADMIN, CONTROL, Host, Running, can_be_others, command_as, program};

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(path).expect("it ships")
}

/// Returns all that the unit says under a name.
fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
    unit.lines().filter_map(value).flat_map(str::split_whitespace).collect()
}

/// Returns the folder that the unit's command line gives for a flag.
fn folder<'a>(unit: &'a str, flag: &str) -> &'a str {
    let words = values(unit, "ExecStart");
    let at = words.iter().position(|word| *word == flag).expect("the flag is given");
    words[at + 1]
}

/// Says whether the unit lets the attestor write into a folder.
fn may_write(unit: &str, folder: &str) -> bool {
    let states =
        values(unit, "StateDirectory").into_iter().map(|name| Path::new("/var/lib").join(name));
    let others = values(unit, "ReadWritePaths").into_iter().map(PathBuf::from);
    states.chain(others).any(|path| Path::new(folder).starts_with(path))
}

#[test]
fn keys_are_made_and_put_away_under_the_unit_that_ships() {
    let unit = shipped("docs/systemd/kiln-attestor.service");
    let page = shipped("docs/signing.md");
    assert_eq!(values(&unit, "ProtectSystem"), ["strict"], "nothing is read-only");
    let (config, state) = (folder(&unit, "--config-dir"), folder(&unit, "--state-dir"));
    let [user] = values(&unit, "User")[..] else { panic!("no user") };
    assert!(
        page.contains(&format!("install -d -o {user} -m 0700 {config}")),
        "the page makes another"
    );
    for folder in [config, state] {
        assert!(page.contains(&format!("`{folder}`")), "the page does not name {folder}");
    }
    if !can_be_others() {
        return;
    }
    // The same with this host's folders: all is read-only but what the unit says, and the socket's own.
    let mut host = Host::without_key("");
    host.stop();
    let top = host.world.path(".");
    let path = |name: &str| top.join(name).display().to_string();
    let mut script =
        "set -e; w=$1; shift; mount --bind $w $w; mount -o remount,ro,bind $w; ".to_owned();
    for (name, here) in [(config, "attestor/config"), (state, "attestor/state"), ("", "run")] {
        if name.is_empty() || may_write(&unit, name) {
            let here = path(here);
            script += &format!("mount --bind {here} {here}; mount -o remount,rw,bind {here}; ");
        }
    }
    script += "exec \"$@\"";
    let (places, socket) = (host.places(), host.socket());
    let listen = command_as(super::ATTESTOR, &[program(), "attestor", "listen"]);
    let mut command = std::process::Command::new("unshare");
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.args(["--mount", "sh", "-c", &script, "sh", &path("")]).arg(listen.get_program());
    command.args(listen.get_args()).args(&places).args(["--socket", &socket]);
    host.attestor = Some(Running::start(&mut command));
    host.wait();
    host.kiln_as(ADMIN, &["key", "generate"]).exits(0);
    host.kiln_as(ADMIN, &["key", "rotate"]).exits(0);
    host.kiln_as(CONTROL, &["key", "show"]).exits(0);
    // The control: elsewhere nothing can be written.
    let id = host.attestor_id().to_string();
    let elsewhere = path("attestor/elsewhere");
    let wrote = host.run_as(0, &["nsenter", "--mount", "--target", &id, "touch", &elsewhere]);
    assert!(wrote.says("Read-only"), "{}", wrote.stderr);
}

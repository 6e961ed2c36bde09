//! S-A05, S-A06: environments whose own /dev, /proc or /sys are not what they seem.
//!
//! The root is made by a sealed step, so it can hold anything that a step can write.

use crate::support::backend::{Backend, Reach};
use crate::support::{Canaries, World};

/// Says what it sees of the places that kiln makes itself.
const PROBE: &str = r#"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    struct stat s;
    FILE *out = fopen("out", "w");
    if (!out) return 3;
    fprintf(out, "null %d\n", stat("/dev/null", &s) == 0 && S_ISCHR(s.st_mode));
    fprintf(out, "proc %d\n", stat("/proc/self/status", &s) == 0 && S_ISREG(s.st_mode));
    fprintf(out, "planted %d\n", access("/tmp/planted", F_OK) == 0);
    const char *masked[] = {"/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/timer_list", 0};
    int told = 0;
    for (int i = 0; masked[i]; i++) {
        FILE *file = fopen(masked[i], "r");
        if (file && fgetc(file) != EOF) told++;
        if (file) fclose(file);
    }
    FILE *null = fopen("/dev/null", "w");
    int written = null && fputs("|/tmp/planted\n", null) >= 0 && fclose(null) == 0;
    fprintf(out, "masked %d null %d\n", told, written);
    fclose(out);
    return 0;
}
"#;

const SOUND: &str = "null 1\nproc 1\nplanted 0\nmasked 0 null 1\n";

/// What the step adds to its root, and whether that root must work.
const ROOTS: [(&str, &str, bool); 8] = [
    ("a sound root", "mkdir evil/dev evil/proc evil/sys", true),
    ("a root without any of them", "true", true),
    ("/dev is a link to /tmp", "ln -s tmp evil/dev; echo x > evil/tmp/planted", false),
    (
        "/dev/null is a link to a setting of the kernel",
        "mkdir evil/dev evil/proc; ln -s /proc/sys/kernel/core_pattern evil/dev/null; ln -s /dev/null evil/proc/kcore",
        true,
    ),
    ("/proc is an absolute link", "ln -s /host evil/proc", false),
    ("/sys is a file", "echo x > evil/sys", false),
    ("/dev is a file and /proc dangles", "echo x > evil/dev; ln -s nowhere evil/proc", false),
    (
        "/build and /kiln are links",
        "rmdir evil/build; ln -s tmp evil/build; ln -s /etc evil/kiln",
        false,
    ),
];

fn build_file(lie: &str) -> String {
    format!(
        "kiln: 1\nname: evil\nsources: {{src: {{local: src}}}}\nenvironment:\n  host: {{packages: \
         [gcc, libc6-dev]}}\nenvironments:\n  evil: {{step: root.root}}\nsteps:\n  - name: root\n    run: |\n      \
         mkdir -p evil/bin evil/host evil/tmp evil/build evil/etc\n      gcc -static -O1 -o evil/bin/probe \
         probe.c\n      {lie}\n    outputs: {{root: {{path: evil, as: root}}}}\n  - name: attack\n    \
         environment: evil\n    mount: {{}}\n    run: [/bin/probe]\n    outputs: {{out: out}}\n\
         artifacts:\n  - {{file: attack.out}}\n"
    )
}

#[test]
fn root_that_lies_about_its_own_folders_is_no_way_out() {
    for backend in Backend::here() {
        let world = World::cold(backend.who());
        let reach = Reach::of(*backend, &world);
        let mut canaries = Canaries::plant(&world);
        canaries.has_groups = matches!(reach, Reach::Native);
        let sound = match reach {
            Reach::Confined(_) => SOUND.replace("proc 1", "proc 0"),
            Reach::Native | Reach::Docker(_) => SOUND.to_owned(),
        };
        world.write("src/probe.c", PROBE);
        for (what, lie, must_work) in ROOTS {
            let what = format!("{what} on {}", backend.name());
            world.write("kiln.yaml", &build_file(lie));
            let _ = std::fs::remove_dir_all(world.path("project/kiln-out"));
            reach.kiln(&world, &["lock"]).exits(0);
            let ran = reach.kiln(&world, &["build", "--no-sign"]);
            let worked = ran.code == 0;
            if worked {
                assert_eq!(world.read("kiln-out/out"), sound, "{what}");
            } else {
                let refused = [1, 2, 7].contains(&ran.code) && ran.says("KILN-0");
                assert!(refused && !must_work, "{what}: {ran:?}");
            }
            let mut wrong = canaries.aftermath(&world);
            wrong.extend(reach.left(&world));
            assert!(wrong.is_empty(), "{what}: {wrong:#?}");
            println!("S-A05: {what}: {}", if worked { "contained" } else { "refused" });
        }
    }
}

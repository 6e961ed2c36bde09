//! The reference in a source's address: the control plane's word, and nobody else's.

use std::fs;

use serde_json::json;

use super::{BUILDER, CONTROL, Host, can_be_others};
use crate::support::Ran;

const PLACE: &str = "https://git.example.org/a/hello";

#[test]
fn a_reference_is_signed_where_it_was_ordered_and_no_remote_states_one() {
    if !can_be_others() {
        return;
    }
    let host = Host::new();
    let policy = format!(
        "policy: 1\nname: tags\nsource: {{uri: {PLACE}, ref: {{pattern: \"refs/tags/v[0-9]+\"}}}}\n"
    );
    let public = host.kiln_as(CONTROL, &["key", "export"]).exits(0).stdout;
    let [keys, rules] = ["attestor.pem", "tags.yaml"].map(|name| host.world.path(name));
    fs::write(&keys, public).expect("a file");
    fs::write(&rules, policy).expect("a file");
    let [keys, rules] = [&keys, &rules].map(|path| path.to_str().expect("UTF-8"));
    let verify = || host.world.kiln(&["verify", "kiln-out/out", "--key", keys, "--policy", rules]);
    let both = |refused: &Ran| -> (bool, bool) {
        ["`source.ref`", "`source.uri`"].map(|rule| refused.stderr.contains(rule)).into()
    };
    let order = |uri: &str| {
        let commit = host.world.git(&["rev-parse", "HEAD"]);
        let wanted = json!({
            "asked": {"build": {"build_file": "kiln.yaml", "target": "out", "matrix": "", "overrides": ""}},
            "source": {"uri": uri, "commit": commit.trim(), "subfolder": ".", "dirty": false},
        });
        let ran = host.order_as(CONTROL, BUILDER, &wanted.to_string(), &[]).exits(0);
        let path = host.world.path("orders");
        fs::write(&path, ran.stdout).expect("a file");
        path
    };
    // Whoever builds can write what they like into their own checkout.
    host.world.git(&["config", "remote.origin.url", &format!("{PLACE}@refs/tags/v9")]);
    host.build(&order(&format!("git+{PLACE}%40refs/tags/v9"))).exits(0);
    let refused = verify().exits(4);
    assert!(both(&refused) == (true, true), "{}", refused.stderr);
    assert_eq!(host.build(&order(&format!("git+{PLACE}@refs/tags/v9"))).code, 5);
    // The order's source without its reference is the checkout's remote.
    host.world.git(&["config", "remote.origin.url", PLACE]);
    host.build(&order(&format!("git+{PLACE}"))).exits(0);
    let refused = verify().exits(4);
    assert!(both(&refused) == (true, false), "{}", refused.stderr);
    host.build(&order(&format!("git+{PLACE}@refs/tags/v9"))).exits(0);
    verify().exits(0);
    assert_eq!(host.build(&order("git+https://git.example.org/b@refs/tags/v9")).code, 5);
}

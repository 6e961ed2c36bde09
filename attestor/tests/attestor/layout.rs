//! Layouts of in-toto: where kiln is stricter than in-toto's own verifier, and each check attacked.
//! `make interop` compares both on layouts that the Python tool made.

use std::collections::BTreeMap;

use attestor::dsse::{PAYLOAD_TYPE, pae};
use attestor::links::layout::{Followed, LayoutError, verify};
use attestor::links::{file_name, key_id};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::Digest;
use serde_json::{Value, json};

use crate::forger::Forger;
use crate::support::NOW;

const FILE: &[u8] = b"the product\n";

fn id(forger: &Forger) -> String {
    key_id(&forger.public()).unwrap()
}

fn hex(key: &Forger) -> Value {
    let pem = key.public().to_pem().unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64_STANDARD.decode(body).unwrap();
    der[der.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn signed(content: &Value, by: &[&Forger]) -> Value {
    let payload = content.to_string();
    let signature = |key: &&Forger| {
        let sig = key.sign(&pae(PAYLOAD_TYPE, payload.as_bytes()));
        json!({"keyid": id(key), "sig": BASE64_STANDARD.encode(sig)})
    };
    let signatures: Vec<Value> = by.iter().map(signature).collect();
    json!({"payload": BASE64_STANDARD.encode(&payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures})
}

/// A layout of one step by one key, the key's link, and the owner's signature.
struct World {
    layout: Value,
    link: Value,
    owners: Vec<Forger>,
    signers: Vec<Forger>,
    now: i64,
}

impl World {
    fn new() -> World {
        let key = Forger::ed25519(2);
        let digest = Digest::of(FILE).hex();
        World {
            layout: json!({
                "_type": "layout", "expires": "2030-01-01T00:00:00Z", "readme": "", "inspect": [],
                "keys": {id(&key): {"keyid": id(&key), "keytype": "ed25519", "scheme": "ed25519",
                    "keyval": {"public": hex(&key)}}},
                "steps": [{"_type": "step", "name": "build", "threshold": 1, "pubkeys": [id(&key)],
                    "expected_materials": [["DISALLOW", "*"]], "expected_command": [],
                    "expected_products": [["CREATE", "out"], ["DISALLOW", "*"]]}],
            }),
            link: json!({
                "_type": "link", "name": "build", "command": [], "byproducts": {}, "environment": {},
                "materials": {}, "products": {"out": {"sha256": digest}},
            }),
            owners: vec![Forger::p256(1)],
            signers: vec![Forger::p256(1)],
            now: NOW,
        }
    }

    fn judged(&self) -> Result<Followed, LayoutError> {
        self.judged_as(&|layout| layout)
    }

    fn judged_as(&self, change: &dyn Fn(Value) -> Value) -> Result<Followed, LayoutError> {
        let signers: Vec<&Forger> = self.signers.iter().collect();
        let layout = change(signed(&self.layout, &signers)).to_string();
        let owners: Vec<_> = self.owners.iter().map(Forger::public).collect();
        let key = Forger::ed25519(2);
        let link = signed(&self.link, &[&key]).to_string().into_bytes();
        let mut links = BTreeMap::from([(file_name("build", &id(&key)), link.clone())]);
        // A second id of the same key, where a test gives it one.
        let second = id(&key).chars().rev().collect::<String>();
        let again = String::from_utf8(link).unwrap().replace(&id(&key), &second);
        links.insert(file_name("build", &second), again.into_bytes());
        verify(
            layout.as_bytes(),
            &owners,
            &|name| links.get(name).cloned(),
            &Digest::of(FILE),
            self.now,
        )
        // Whatever is refused says what was wanted and what came.
        .inspect_err(|error| match error.compared() {
            Some((expected, got)) => assert!(expected != got && !got.is_empty(), "{error}"),
            None => assert!(matches!(error, LayoutError::NoKey), "{error}"),
        })
    }

    fn refused(&self) -> String {
        self.judged().unwrap_err().to_string()
    }
}

#[test]
fn what_followed_the_layout_is_accepted() {
    let followed = World::new().judged().unwrap();
    assert_eq!(followed.product, "out");
    assert_eq!(followed.steps, [("build".to_owned(), vec![id(&Forger::ed25519(2))])]);
}

#[test]
fn every_owner_that_is_named_must_have_signed() {
    let mut world = World::new();
    world.owners.push(Forger::ed25519(9));
    assert!(world.refused().contains("not signed by key"));
    world.signers.push(Forger::ed25519(9));
    world.judged().unwrap();
    world.owners.clear();
    assert!(matches!(world.judged(), Err(LayoutError::NoKey)));
    // A second signature under an id that is taken would let one hide behind the other.
    let mut twice = World::new();
    twice.signers.push(Forger::p256(1));
    assert!(matches!(twice.judged(), Err(LayoutError::Layout(_))));
}

#[test]
fn a_layout_is_in_force_until_its_second_and_not_in_it() {
    let mut world = World::new();
    world.now = 1_893_455_999;
    world.judged().unwrap();
    world.now += 1;
    assert!(matches!(world.judged(), Err(LayoutError::Expired { .. })));
    for text in ["2030-01-01", "2030-13-01T00:00:00Z", "2030-01-01T00:00:00+00:00", ""] {
        let mut world = World::new();
        world.layout["expires"] = text.into();
        assert!(world.refused().contains("`expires`"), "{text}");
    }
}

type Change = fn(&mut World);

#[test]
fn what_is_not_understood_is_refused_where_others_look_away() {
    let changes: [(&str, Change); 12] = [
        ("inspections", |world| world.layout["inspect"] = json!([{"run": ["true"]}])),
        ("step `build`", |world| world.layout["steps"][0]["threshold"] = 0.into()),
        ("can not be read", |world| world.layout["steps"][0]["threshold"] = (-1).into()),
        ("can not be read", |world| {
            world.layout["steps"][0]["expected_predicates"] = json!([]);
        }),
        ("can not be read", |world| world.layout["extra"] = 1.into()),
        ("step `../build`", |world| world.layout["steps"][0]["name"] = "../build".into()),
        ("number of steps", |world| world.layout["steps"] = json!([])),
        ("breaks a rule", |world| {
            world.layout["steps"][0]["expected_products"] = json!([["PERMIT", "*"]]);
        }),
        ("can not be used", |world| world.link["name"] = "test".into()),
        ("can not be used", |world| world.link["extra"] = 1.into()),
        ("can not be used", |world| world.link["_type"] = "layout".into()),
        ("no product", |world| world.link["products"]["out"]["sha256"] = "0".repeat(64).into()),
    ];
    for (number, (words, change)) in changes.into_iter().enumerate() {
        let mut world = World::new();
        change(&mut world);
        let refused = world.refused();
        assert!(refused.contains(words), "{number}: {refused}");
    }
}

#[test]
fn one_key_under_two_ids_is_one_functionary() {
    let mut world = World::new();
    let key = id(&Forger::ed25519(2));
    let second = key.chars().rev().collect::<String>();
    let mut again = world.layout["keys"][&key].clone();
    again["keyid"] = second.clone().into();
    world.layout["keys"][&second] = again;
    world.layout["steps"][0]["pubkeys"] = json!([key, second]);
    world.judged().unwrap();
    world.layout["steps"][0]["threshold"] = 2.into();
    assert!(matches!(world.judged(), Err(LayoutError::Threshold { got: 1, threshold: 2, .. })));
}

#[test]
fn a_key_that_is_not_the_ones_the_layout_says_does_not_count() {
    let key = id(&Forger::ed25519(2));
    for (member, value) in [
        ("keyid", json!("0")),
        ("keytype", json!("rsa")),
        ("scheme", json!("rsassa-pss-sha256")),
        ("keyval", json!({"public": hex(&Forger::ed25519(3))})),
        ("keyval", json!({"public": "x"})),
    ] {
        let mut world = World::new();
        world.layout["keys"][&key][member] = value;
        assert!(matches!(world.judged(), Err(LayoutError::Threshold { got: 0, .. })), "{member}");
    }
}

#[test]
fn a_changed_byte_of_the_layout_is_noticed() {
    let world = World::new();
    let flip = |layout: Value, member: &str| {
        let mut layout = layout;
        let place = layout.pointer_mut(member).unwrap();
        let mut bytes = BASE64_STANDARD.decode(place.as_str().unwrap()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        *place = BASE64_STANDARD.encode(bytes).into();
        layout
    };
    for member in ["/payload", "/signatures/0/sig"] {
        let judged = world.judged_as(&|layout| flip(layout, member));
        assert!(judged.is_err(), "{member}");
    }
}

//! Formats read strictly: each limit at the limit and one beyond it, each member twice at each level.

use attestor::bundle::{self, LINES_MAX};
use attestor::claims::{SUBJECT_DIGESTS_MAX, SUBJECTS_MAX, Statement, read_manifest};
use attestor::dsse::{ENVELOPE_BYTES_MAX, PAYLOAD_TYPE};
use attestor::policy::Policy;
use attestor::sigstore::{ENTRIES_MAX as LOGS_MAX, ROOT_BYTES_MAX, Root};
use attestor::statement::STATEMENT_BYTES_MAX;
use attestor::trust::{ENTRIES_MAX, TRUST_BYTES_MAX, Trust};
use attestor::vsa;
use serde_json::{Map, Value, json};

use crate::stage::{Asked, CERTIFIED, POLICY, ROOT, Stage, small, summary};

/// A format: its name, a good document, a place in it where a member more is read past, and its reader.
struct Format {
    name: &'static str,
    good: fn() -> Value,
    /// Where; as a pointer. None where every member is known.
    open: Option<&'static str>,
    reads: fn(&[u8]) -> bool,
}

const FORMATS: [Format; 7] = [
    Format {
        name: "envelope",
        good: || serde_json::from_slice(&Stage::new().line()).unwrap(),
        open: None,
        reads: |bytes| bundle::read(bytes).is_ok(),
    },
    Format {
        name: "bundle by key",
        good: || serde_json::from_slice(&Stage::new().bundle()).unwrap(),
        open: None,
        reads: |bytes| bundle::read(bytes).is_ok(),
    },
    Format {
        name: "bundle by certificate",
        good: || serde_json::from_slice(CERTIFIED).unwrap(),
        open: Some("/verificationMaterial/timestampVerificationData"),
        reads: |bytes| bundle::read(bytes).is_ok(),
    },
    Format {
        name: "statement",
        good: small,
        open: Some("/predicate/runDetails"),
        reads: |bytes| Statement::read(bytes).is_ok(),
    },
    Format {
        name: "summary",
        good: summary,
        open: Some("/predicate"),
        reads: |bytes| vsa::read(bytes).is_ok(),
    },
    Format {
        name: "manifest",
        good: || json!({"version": 1, "dependencies": [{"name": "a", "digest": {"sha256": "a".repeat(64)}, "annotations": {"x": "y"}}]}),
        open: Some("/dependencies/0/annotations"),
        reads: |bytes| read_manifest(bytes).is_ok(),
    },
    Format {
        name: "trusted root",
        good: || serde_json::from_slice(ROOT).unwrap(),
        open: Some("/tlogs/0"),
        reads: |bytes| Root::parse(bytes).is_ok(),
    },
];

/// Writes a value; the object at `twice`, counted from the top, has its first member two times, the first
/// time with another value.
fn written(value: &Value, twice: usize, count: &mut usize, out: &mut String) {
    match value {
        Value::Object(members) => {
            let here = *count == twice;
            *count += 1;
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                let name = Value::from(name.as_str());
                if at > 0 {
                    out.push(',');
                }
                if here && at == 0 {
                    *out += &format!("{name}:null,");
                }
                *out += &format!("{name}:");
                written(value, twice, count, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                written(item, twice, count, out);
            }
            out.push(']');
        }
        other => *out += &other.to_string(),
    }
}

#[test]
fn a_member_that_stands_twice_is_refused_at_every_level_of_every_format() {
    for format in &FORMATS {
        let good = (format.good)();
        let (mut count, mut text) = (0, String::new());
        written(&good, usize::MAX, &mut count, &mut text);
        assert!((format.reads)(text.as_bytes()), "{}: the control", format.name);
        assert!(count > 1, "{}: {count} objects", format.name);
        for twice in 0..count {
            let mut text = String::new();
            written(&good, twice, &mut 0, &mut text);
            assert!(!(format.reads)(text.as_bytes()), "{}: object {twice}", format.name);
        }
    }
    // YAML and TOML have objects of their own.
    for (good, twice) in [
        ("level: 1", "level: 1\nlevel: 1"),
        (
            "source: {uri: \"https://a.example/x\"}",
            "source: {uri: \"https://a.example/x\", uri: \"https://b.example/x\"}",
        ),
        ("rules: [{name: a, expr: \"true\"}]", "rules: [{name: a, name: b, expr: \"true\"}]"),
        ("parameters: {target: hello}", "parameters: {target: hello, target: other}"),
    ] {
        assert!(Policy::parse(format!("policy: 1\n{good}\n").as_bytes()).is_ok(), "{good}");
        assert!(Policy::parse(format!("policy: 1\n{twice}\n").as_bytes()).is_err(), "{twice}");
    }
    let trust = Stage::new().trust_file();
    assert!(Trust::parse(trust.as_bytes()).is_ok());
    for member in ["name", "key", "builder-id", "max-level", "revoked"] {
        let line = format!("\n{member} = ");
        let twice = trust.replacen(&line, &format!("\n{member} = \"\"{line}"), 1);
        assert!(twice != trust && Trust::parse(twice.as_bytes()).is_err(), "{member}");
    }
}

/// Adds a member where the format reads past one.
fn with(format: &Format, text: &str) -> String {
    let mut good = (format.good)();
    let place = good.pointer_mut(format.open.unwrap()).unwrap();
    place["zz"] = json!("HERE");
    good.to_string().replacen("\"HERE\"", text, 1)
}

fn nested(levels: usize) -> String {
    format!("{}0{}", "[".repeat(levels), "]".repeat(levels))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(members) => members.values().map(values).sum::<usize>(),
        _ => 0,
    }
}

/// Each row: a format, its levels, its values, its bytes.
const LIMITS: [(&str, usize, usize, usize); 5] = [
    ("bundle by certificate", 16, 4096, ENVELOPE_BYTES_MAX),
    ("statement", 64, 1 << 20, STATEMENT_BYTES_MAX),
    ("summary", 16, 1 << 16, STATEMENT_BYTES_MAX),
    ("manifest", 16, 0, 0),
    ("trusted root", 16, 1 << 16, ROOT_BYTES_MAX),
];

fn format(name: &str) -> &'static Format {
    FORMATS.iter().find(|one| one.name == name).unwrap()
}

#[test]
fn depth_count_and_size_are_read_up_to_their_limit_and_not_beyond() {
    for (name, levels_max, values_max, bytes_max) in LIMITS {
        let format = format(name);
        let reads = |text: &str| (format.reads)(text.as_bytes());
        let (at, beyond) = {
            let place = format.open.unwrap().matches('/').count() + 1;
            (nested(levels_max - place), nested(levels_max - place + 1))
        };
        let at = with(format, &at);
        assert_eq!(depth(&serde_json::from_str(&at).unwrap()), levels_max, "{name}");
        assert!(reads(&at), "{name}: {levels_max} levels");
        assert!(!reads(&with(format, &beyond)), "{name}: {} levels", levels_max + 1);
        if values_max == 0 {
            continue;
        }
        // The list itself is one value.
        let rest = values_max - values(&(format.good)()) - 1;
        let many = |count: usize| with(format, &format!("[{}]", vec!["0"; count].join(",")));
        assert!(reads(&many(rest)), "{name}: {values_max} values");
        assert!(!reads(&many(rest + 1)), "{name}: {} values", values_max + 1);
        let mut padded = (format.good)().to_string();
        padded += &" ".repeat(bytes_max - padded.len());
        assert!(reads(&padded), "{name}: {bytes_max} bytes");
        padded.push(' ');
        assert!(!reads(&padded), "{name}: {} bytes", bytes_max + 1);
    }
}

#[test]
fn numbers_are_whole_and_within_what_every_reader_has() {
    for name in ["bundle by certificate", "statement", "summary", "manifest", "trusted root"] {
        let format = format(name);
        let reads = |number: &str| (format.reads)(with(format, number).as_bytes());
        for good in ["0", "1", "-1", "9007199254740991", "-9007199254740991"] {
            assert!(reads(good), "{name}: {good}");
        }
        for bad in [
            "9007199254740992",
            "-9007199254740992",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "1e400",
            "1.0",
            "0.1",
            "1e3",
            "-0.0",
            "01",
            "+1",
            ".5",
            "1.",
            "0x1",
            "NaN",
            "Infinity",
            "-",
        ] {
            assert!(!reads(bad), "{name}: {bad}");
            assert!(!reads(&format!("[{{\"x\":{bad}}}]")), "{name}: {bad}, inside");
        }
    }
}

#[test]
fn texts_are_whole_and_documents_end() {
    for format in &FORMATS {
        let good = (format.good)().to_string();
        let reads = |bytes: &[u8]| (format.reads)(bytes);
        assert!(reads(good.as_bytes()), "{}", format.name);
        assert!(reads(format!(" \t\r\n{good}\n ").as_bytes()), "{}: white space", format.name);
        let first = good.find(":\"").unwrap() + 2;
        let inside =
            |bytes: &[u8]| [&good.as_bytes()[..first], bytes, &good.as_bytes()[first..]].concat();
        for (what, bytes) in [
            ("a mark of byte order", [b"\xef\xbb\xbf", good.as_bytes()].concat()),
            ("a NUL after it", [good.as_bytes(), b"\0"].concat()),
            ("a letter after it", [good.as_bytes(), b"x"].concat()),
            ("a second one after it", format!("{good}{good}").into_bytes()),
            ("a comment", [good.as_bytes(), b"//"].concat()),
            ("a comma before its end", good.replacen('}', ",}", 1).into_bytes()),
            ("its last letter gone", good.as_bytes()[..good.len() - 1].to_vec()),
            ("half a pair", inside(b"\\ud800")),
            ("the other half", inside(b"\\udc00")),
            ("two halves in the wrong order", inside(b"\\udc00\\ud800")),
            ("half a pair and a letter", inside(b"\\ud800\\u0041")),
            ("no UTF-8", inside(b"\xff")),
            ("a letter spelled too long", inside(b"\xc0\xaf")),
            ("half a pair as bytes", inside(b"\xed\xa0\x80")),
            ("a bare NUL", inside(b"\0")),
            ("a bare line feed", inside(b"\n")),
            ("an unknown escape", inside(b"\\x41")),
        ] {
            assert!(!reads(&bytes), "{}: {what}", format.name);
        }
    }
    for (what, bytes) in [
        ("a NUL", b"policy: 1\n\0".to_vec()),
        ("no UTF-8", b"policy: 1\n# \xff\n".to_vec()),
        ("a second document", b"policy: 1\n---\npolicy: 1\n".to_vec()),
        ("UTF-16", "policy: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ] {
        assert!(Policy::parse(&bytes).is_err(), "{what}");
        assert!(Trust::parse(&[b"\0", bytes.as_slice()].concat()).is_err(), "{what}");
    }
}

#[test]
fn lists_and_names_are_read_up_to_their_limit_and_not_beyond() {
    let subjects = |count: usize| {
        let mut one = small();
        let subject = |at| json!({"name": format!("f{at}"), "digest": {"sha256": "a".repeat(64)}});
        one["subject"] = Value::Array((0..count).map(subject).collect());
        Statement::read(one.to_string().as_bytes()).is_ok()
    };
    assert!(!subjects(0) && subjects(1) && subjects(SUBJECTS_MAX) && !subjects(SUBJECTS_MAX + 1));
    let digests = |count: usize| {
        let mut one = small();
        let all: Map<String, Value> =
            (0..count).map(|at| (format!("x{at}"), json!("00"))).collect();
        one["subject"][0]["digest"] = Value::Object(all);
        Statement::read(one.to_string().as_bytes()).is_ok()
    };
    assert!(!digests(0) && digests(SUBJECT_DIGESTS_MAX) && !digests(SUBJECT_DIGESTS_MAX + 1));
    let name = |length: usize| {
        let mut one = small();
        one["subject"][0]["name"] = json!("x".repeat(length));
        Statement::read(one.to_string().as_bytes()).is_ok()
    };
    assert!(!name(0) && name(1) && name(255) && !name(256));
    let stage = Stage::new();
    let lines = |count: usize| bundle::read(&stage.line().repeat(count)).is_ok();
    assert!(!lines(0) && lines(LINES_MAX) && !lines(LINES_MAX + 1));
    let signatures = |count: usize| {
        let mut one: Value = serde_json::from_slice(&stage.line()).unwrap();
        let signature = one["signatures"][0].clone();
        one["signatures"] = Value::Array(vec![signature; count]);
        bundle::read(one.to_string().as_bytes()).is_ok()
    };
    assert!(!signatures(0) && signatures(1) && !signatures(2));
    for list in ["tlogEntries", "timestampVerificationData/rfc3161Timestamps"] {
        let verifies = |count: usize| {
            let mut one: Value = serde_json::from_slice(CERTIFIED).unwrap();
            let place = one.pointer_mut(&format!("/verificationMaterial/{list}")).unwrap();
            *place = Value::Array(vec![place[0].clone(); count]);
            let bytes = one.to_string();
            stage.verdict(&Asked { root: Some(&stage.root), ..stage.by_key(bytes.as_bytes()) })
        };
        assert!(verifies(0).is_err(), "{list}");
        let beyond = verifies(LOGS_MAX + 1).unwrap_err();
        assert!(beyond.starts_with("EvidenceMalformed"), "{list}: {beyond}");
        // At the limit they are read, and weighed.
        let at = verifies(LOGS_MAX);
        assert!(at.is_ok() || at.is_err_and(|why| !why.starts_with("EvidenceMalformed")), "{list}");
    }
}

#[test]
fn a_policy_and_a_trust_file_are_read_up_to_their_limits_and_not_beyond() {
    let policy = |text: &str| Policy::parse(text.as_bytes()).is_ok();
    let padded = |text: &str, bytes: usize| {
        let padding = format!("{text}#");
        format!("{padding}{}", "x".repeat(bytes - padding.len()))
    };
    assert!(policy(&padded(POLICY, 256 << 10)) && !policy(&padded(POLICY, (256 << 10) + 1)));
    // 10,000 keys and values; what is around these takes seven.
    let sources = |count: usize| {
        let all = vec!["\"https://a.example/x\""; count].join(",");
        policy(&format!("policy: 1\nsource: {{uri: [{all}]}}\n"))
    };
    assert!(sources(9_993) && !sources(9_994));
    // 16 levels, none of which this format needs: another error beyond them.
    let levels = |count: usize| {
        let deep = format!("policy: 1\nname: {}x{}\n", "[".repeat(count), "]".repeat(count));
        let wrong = Policy::parse(deep.as_bytes()).unwrap_err();
        wrong.iter().map(|one| format!("{:?}", one.wrong)).collect::<String>()
    };
    assert!(!levels(15).contains("Unreadable"), "{}", levels(15));
    assert!(levels(16).contains("Unreadable"), "{}", levels(16));
    let stage = Stage::new();
    let entries = |count: usize| {
        let short = "[[trust]]\nname = \"a\"\nidentity = \"b\"\nissuer = \"c\"\nbuilder-id = \"https://d.example/x\"\nmax-level = 1\n";
        Trust::parse(short.repeat(count).as_bytes()).is_ok()
    };
    assert!(entries(ENTRIES_MAX) && !entries(ENTRIES_MAX + 1));
    let trust = |bytes: usize| Trust::parse(padded(&stage.trust_file(), bytes).as_bytes()).is_ok();
    assert!(trust(TRUST_BYTES_MAX) && !trust(TRUST_BYTES_MAX + 1));
    // A payload is capped by itself, whatever carries it.
    let good = small().to_string();
    let carried = |bytes: usize| {
        let padded = format!("{good}{}", " ".repeat(bytes - good.len()));
        let bundle = stage.builder.bundle(PAYLOAD_TYPE, padded.as_bytes()).to_string();
        stage.verdict(&stage.by_key(bundle.as_bytes())).is_ok()
    };
    assert!(carried(STATEMENT_BYTES_MAX) && !carried(STATEMENT_BYTES_MAX + 1));
}

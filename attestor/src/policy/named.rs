//! The curated policies: what their names promise, and, in each file, what they can not tell.

/// Their names.
pub const NAMES: [&str; 4] = ["slsa-l1", "slsa-l2", "slsa-l3", "ssdf"];

/// Returns the text of a curated policy.
pub fn named(name: &str) -> Option<&'static str> {
    match name {
        "slsa-l1" => Some(include_str!("named/slsa-l1.yaml")),
        "slsa-l2" => Some(include_str!("named/slsa-l2.yaml")),
        "slsa-l3" => Some(include_str!("named/slsa-l3.yaml")),
        "ssdf" => Some(include_str!("named/ssdf.yaml")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    #[test]
    fn every_curated_policy_can_be_read_and_says_where_it_can_be_read() {
        for name in NAMES {
            let policy = Policy::parse(named(name).unwrap().as_bytes()).unwrap();
            assert_eq!(policy.name(), name);
            assert_eq!(
                policy.uri(),
                Some(format!("https://kiln.build/policies/{name}/v1").as_str())
            );
        }
        assert!(named("slsa-l4").is_none());
    }
}

//! The transcripts of KILN-0101: what is no YAML that kiln reads.

use super::check;

#[test]
fn not_yaml_a_tab() {
    check(
        r#"
kiln: 1
steps:
	- name: build
"#,
        r#"
error[KILN-0101]: a tab stands where spaces must
  --> kiln.yaml:3:1
   |
 3 |     - name: build
   | ^^^^
help: indent with spaces
"#,
    );
}

#[test]
fn not_yaml_an_anchor() {
    check(
        r#"
kiln: 1
name: &project hello
"#,
        r#"
error[KILN-0101]: an anchor is not allowed
  --> kiln.yaml:2:7
   |
 2 | name: &project hello
   |       ^^^^^^^^
why: nothing is expanded before the file is hashed
help: write the value out where it is used
"#,
    );
}

#[test]
fn not_yaml_an_alias() {
    check(
        r#"
kiln: 1
name: *project
"#,
        r#"
error[KILN-0101]: an alias is not allowed
  --> kiln.yaml:2:7
   |
 2 | name: *project
   |       ^^^^^^^^
why: nothing is expanded before the file is hashed
help: write the value out; a string that starts with `*` must be quoted
"#,
    );
}

#[test]
fn not_yaml_a_tag() {
    check(
        r#"
kiln: 1
name: !!str hello
"#,
        r#"
error[KILN-0101]: a tag is not allowed here
  --> kiln.yaml:2:7
   |
 2 | name: !!str hello
   |       ^^^^^
why: a value has the type that its form gives it
help: remove the tag; quote the value if it shall be a string
"#,
    );
}

#[test]
fn not_yaml_a_merge_key() {
    check(
        r#"
kiln: 1
<<: {name: hello}
"#,
        r#"
error[KILN-0101]: a merge key is not allowed
  --> kiln.yaml:2:1
   |
 2 | <<: {name: hello}
   | ^^
why: nothing is expanded before the file is hashed
help: write the keys out
"#,
    );
}

#[test]
fn not_yaml_a_second_document() {
    check(
        r#"
kiln: 1
name: t
steps:
  - {name: build, run: make, outputs: {bin: hello}}
---
kiln: 1
"#,
        r#"
error[KILN-0101]: a second document starts here
  --> kiln.yaml:5:1
   |
 5 | ---
   | ^^^
  expected: one document
help: remove the line `---` and what follows, or make it a file of its own
"#,
    );
}

#[test]
fn not_yaml_a_directive() {
    check(
        r#"
%YAML 1.2
---
kiln: 1
"#,
        r#"
error[KILN-0101]: a directive is not allowed
  --> kiln.yaml:1:1
   |
 1 | %YAML 1.2
   | ^
why: the file is YAML 1.2 without directives
help: remove the line that starts with `%`
"#,
    );
}

#[test]
fn not_yaml_an_open_quote() {
    check(
        r#"
kiln: 1
name: "hello
"#,
        r#"
error[KILN-0101]: a quoted string is not closed
  --> kiln.yaml:2:7
   |
 2 | name: "hello
   |       ^
help: add the missing quote
"#,
    );
}

#[test]
fn not_yaml_an_open_bracket() {
    check(
        r#"
kiln: 1
steps: [{name: build
"#,
        r#"
error[KILN-0101]: a `{` is not closed
  --> kiln.yaml:2:9
   |
 2 | steps: [{name: build
   |         ^
help: add the missing `}`
"#,
    );
}

#[test]
fn not_yaml_a_colon() {
    check(
        r#"
kiln: 1
name: t
steps:
  - name: build
    run: echo a: b
"#,
        r#"
error[KILN-0101]: a `:` makes a second value here
  --> kiln.yaml:5:16
   |
 5 |     run: echo a: b
   |                ^
help: align the key with the others, or quote the string that holds `: `
"#,
    );
}

#[test]
fn not_yaml_empty() {
    check(
        r#"
# nothing yet
"#,
        r#"
error[KILN-0101]: the file is empty
  --> kiln.yaml:1:1
  expected: at least kiln, name and steps
help: write one:  kiln init
"#,
    );
}

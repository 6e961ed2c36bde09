//! Expressions of a policy in CEL, compiled within bounds and evaluated within bounds.
//!
//! The language has no loops but over what it is given, and no I/O; still an expression over hostile data
//! could take for ever, or its result could double with each step. So the cost is bounded before anything
//! runs: by the form of the expression when it is compiled ([`EXPRESSION_BYTES_MAX`] and the constants
//! after it) and by the size of the data when it is evaluated ([`STEPS_MAX`], module `cost`); all that one policy
//! evaluates for one file has a bound together ([`Meter`]). `+` is refused, since it is what makes values grow; a pattern of `matches` must be written out and small (module
//! `pattern`), since data must not choose it.
//!
//! An expression that fails, or yields anything but `true` or `false`, is an error, and an error is a
//! refusal. Source: CEL specification; the crate `cel`, which has no step limit of its own.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::{Context, Program, Value as CelValue};
use serde_json::Value;

use super::boolean;
use super::cost;
use super::pattern::{self, PATTERN_BYTES_MAX, PatternError};

/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1024;
/// Most parts of an expression, after its macros are written out.
const PARTS_MAX: usize = 300;
/// Deepest brackets within brackets; bounds the parser's stack. Unoptimised it takes 150 KiB for each, most
/// where it tries to mend what is no expression, and a thread has two mebibytes.
const BRACKETS_MAX: usize = 8;
/// Most of one sign: what makes the tree deep without brackets.
const SIGNS_MAX: usize = 75;
/// Most loops (`all`, `exists`, `map`, `filter`) in one expression.
const LOOPS_MAX: usize = 4;
/// Most loops within one another.
const NESTED_MAX: usize = 2;
/// Most steps that one evaluation may take, estimated beforehand: at most about half a second, and some
/// hundred megabytes.
pub const STEPS_MAX: u64 = 10_000_000;
/// Most steps that all expressions of a policy may take for one file, over all its attestations: about two seconds.
pub const POLICY_STEPS_MAX: u64 = 4 * STEPS_MAX;

/// The variables of an attestation that is required: of that alone.
pub(super) const REQUIRED_VARIABLES: &[&str] = &["predicate", "signer", "statement"];
/// The variables of a rule.
pub(super) const RULE_VARIABLES: &[&str] = &[
    "artifact",
    "builder",
    "dependencies",
    "level",
    "now",
    "parameters",
    "predicate",
    "signer",
    "statement",
];

/// Functions, and those of them that are called on a value; operators have signs in their names.
const FUNCTIONS: &[&str] =
    &["bool", "bytes", "double", "dyn", "int", "matches", "size", "string", "type", "uint"];
const METHODS: &[&str] = &["contains", "endsWith", "matches", "size", "startsWith"];

/// A compiled expression.
pub(super) struct Expression {
    program: Program,
    text: String,
}

/// Why an expression is refused, when it is compiled or when it is evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ExpressionError {
    /// More bytes, parts, brackets or loops than are allowed.
    #[error("it has {got} {what}, more than {most}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        got: usize,
        /// The cap.
        most: usize,
    },
    /// No CEL.
    #[error("it is no expression: {why}")]
    Syntax {
        /// What the parser says.
        why: String,
    },
    /// Something that is valid CEL and not allowed here.
    #[error("{what} is not allowed: {why}")]
    Forbidden {
        /// What.
        what: String,
        /// Why.
        why: &'static str,
    },
    /// A variable that there is not.
    #[error("`{name}` is no variable here")]
    Unknown {
        /// Its name, escaped.
        name: String,
        /// The ones that there are.
        known: &'static [&'static str],
    },
    /// A number that the language could only hold rounded, so that it would equal another.
    #[error("{name} holds a number that can not be compared exactly: {got}")]
    Inexact {
        /// The variable.
        name: &'static str,
        /// The number, as it was read.
        got: f64,
    },
    /// It would take too many steps over this statement.
    #[error("it could take {steps} steps over this statement, more than {STEPS_MAX}")]
    TooCostly {
        /// The estimate.
        steps: u64,
    },
    /// It is out of what all expressions of a policy may take together.
    #[error(
        "with all expressions before it, it could take more than {POLICY_STEPS_MAX} steps for this file"
    )]
    TooCostlyTogether,
    /// It failed.
    #[error("it fails: {why}")]
    Failed {
        /// How.
        why: String,
    },
    /// It yields something else than true or false.
    #[error("it yields {got}, not true or false")]
    NotBoolean {
        /// What it yields.
        got: String,
    },
}

/// What the expressions of a policy have taken of [`POLICY_STEPS_MAX`] for one file. Once it is used up, no further one
/// is even estimated.
#[derive(Debug, Default)]
pub(super) struct Meter(Cell<u64>);

impl Meter {
    /// Says whether anything is left.
    fn is_used_up(&self) -> bool {
        self.0.get() >= POLICY_STEPS_MAX
    }

    /// Takes the steps of one expression; one that is too costly alone takes as much as it might have.
    fn take(&self, steps: u64) -> Result<(), ExpressionError> {
        self.0.set(self.0.get().saturating_add(steps.min(STEPS_MAX)));
        if steps > STEPS_MAX {
            return Err(ExpressionError::TooCostly { steps });
        }
        if self.0.get() > POLICY_STEPS_MAX {
            return Err(ExpressionError::TooCostlyTogether);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Expression({})", self.text)
    }
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is no CEL, names an unknown variable, or could cost too much by its form.
    pub fn compile(
        text: &str,
        variables: &'static [&'static str],
    ) -> Result<Expression, ExpressionError> {
        cap("bytes", text.len(), EXPRESSION_BYTES_MAX)?;
        cap("brackets within brackets", brackets(text), BRACKETS_MAX)?;
        cap("signs and dots", longest_chain(text), SIGNS_MAX)?;
        cap("conditions", text.matches('?').count(), BRACKETS_MAX)?;
        let program = Program::compile(text).map_err(|errors| {
            let why = errors.errors.first().map_or_else(String::new, |error| error.msg.clone());
            ExpressionError::Syntax { why: model::text::escape(why.as_bytes()) }
        })?;
        let mut form = Form { parts: 0, loops: 0, bound: Vec::new(), variables };
        form.walk(program.expression(), 0)?;
        cap("parts", form.parts, PARTS_MAX)?;
        cap("loops", form.loops, LOOPS_MAX)?;
        if let Some(got) = boolean::never(program.expression()) {
            return Err(ExpressionError::NotBoolean { got: got.to_owned() });
        }
        Ok(Expression { program, text: text.to_owned() })
    }

    /// Returns it as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says whether it holds for these variables, by what the meter leaves.
    ///
    /// # Errors
    /// A statement too large for it, a failure, and any result but true or false.
    pub fn holds(
        &self,
        variables: &[(&'static str, &Value)],
        meter: &Meter,
    ) -> Result<bool, ExpressionError> {
        if meter.is_used_up() {
            return Err(ExpressionError::TooCostlyTogether);
        }
        let references = self.program.references();
        let used = variables.iter().filter(|(name, _)| references.has_variable(name));
        let used: Vec<_> = used.copied().collect();
        meter.take(cost::steps(self.program.expression(), &used))?;
        let mut context = Context::default();
        for (name, value) in used {
            if let Some(got) = inexact(value) {
                return Err(ExpressionError::Inexact { name, got });
            }
            context.add_variable_from_value(name, given(value));
        }
        match self.program.execute(&context) {
            Ok(CelValue::Bool(holds)) => Ok(holds),
            Ok(other) => Err(ExpressionError::NotBoolean { got: other.type_of().to_string() }),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// Returns a value as the language has it. A whole number is an `int`, as it is when it is written in an
/// expression, so that the two compare.
fn given(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => CelValue::Int(number),
            (None, Some(number)) => CelValue::UInt(number),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(given).collect())),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), given(value)));
            members.collect::<HashMap<String, CelValue>>().into()
        }
    }
}

/// Returns a number that was rounded when it was read, or would equal a whole one that it is not: one that is no
/// whole number of 64 bits, and beyond 2^53, from where on a `double` holds only some.
fn inexact(value: &Value) -> Option<f64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.as_i64().is_none() && number.as_u64().is_none() => {
            let read = number.as_f64().unwrap_or(f64::INFINITY);
            (read.abs() >= EXACT_MAX).then_some(read)
        }
        Value::Array(items) => items.iter().find_map(inexact),
        Value::Object(members) => members.values().find_map(inexact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn failed(error: &dyn std::error::Error) -> ExpressionError {
    let why: String = error.to_string().chars().take(160).collect();
    ExpressionError::Failed { why: model::text::escape(why.as_bytes()) }
}

fn cap(what: &'static str, got: usize, most: usize) -> Result<(), ExpressionError> {
    if got > most { Err(ExpressionError::TooLarge { what, got, most }) } else { Ok(()) }
}

/// Returns how deep brackets lie, strings counted as text like any other: too many is refused, whatever
/// they mean.
fn brackets(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Returns the count of the most frequent operator: what makes the tree deep without brackets.
fn longest_chain(text: &str) -> usize {
    let count = |sign: u8| text.bytes().filter(|byte| *byte == sign).count();
    [b'!', b'-', b'.'].into_iter().map(count).max().unwrap_or_default()
}

/// The form of an expression, as far as it has been walked.
struct Form {
    parts: usize,
    loops: usize,
    bound: Vec<String>,
    variables: &'static [&'static str],
}

impl Form {
    fn walk(&mut self, part: &IdedExpr, depth: usize) -> Result<(), ExpressionError> {
        self.parts += 1;
        match &part.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.walk(&select.operand, depth),
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.walk(item, depth)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(one) => {
                    self.walk(&one.key, depth)?;
                    self.walk(&one.value, depth)
                }
                EntryExpr::StructField(one) => self.walk(&one.value, depth),
            }),
            Expr::Struct(_) => Err(ExpressionError::Forbidden {
                what: "a message".to_owned(),
                why: "no types are declared here",
            }),
            Expr::Call(call) => {
                match call.func_name.as_str() {
                    "_+_" if !self.builds_a_list(&call.args) => {
                        return Err(ExpressionError::Forbidden {
                            what: "`+`".to_owned(),
                            why: "it is what makes values grow; compare the parts instead",
                        });
                    }
                    "matches" => check_pattern(call.args.last())?,
                    _ => {}
                }
                check_function(&call.func_name, call.target.is_some())?;
                let target = call.target.iter().map(|target| &**target);
                target.chain(&call.args).try_for_each(|one| self.walk(one, depth))
            }
            Expr::Comprehension(inner) => {
                self.loops += 1;
                cap("loops within loops", depth + 1, NESTED_MAX)?;
                self.walk(&inner.iter_range, depth)?;
                self.walk(&inner.accu_init, depth)?;
                let before = self.bound.len();
                self.bound.extend([inner.iter_var.clone(), inner.accu_var.clone()]);
                self.bound.extend(inner.iter_var2.clone());
                for part in [&inner.loop_cond, &inner.loop_step, &inner.result] {
                    self.walk(part, depth + 1)?;
                }
                self.bound.truncate(before);
                Ok(())
            }
        }
    }

    /// Says whether a `+` is the one by which `map` and `filter` collect their result, or `exists_one` counts.
    fn builds_a_list(&self, args: &[IdedExpr]) -> bool {
        let accumulates = |part: &IdedExpr| matches!(&part.expr, Expr::Ident(name) if name.starts_with('@') && self.bound.contains(name));
        let [first, second] = args else { return false };
        let is_one = match &second.expr {
            Expr::List(list) => list.elements.len() == 1,
            Expr::Literal(LiteralValue::Int(one)) => *one.inner() == 1,
            _ => false,
        };
        accumulates(first) && is_one
    }

    fn variable(&self, name: &str) -> Result<(), ExpressionError> {
        let bound = self.bound.iter().any(|one| one == name);
        let types = [
            "bool",
            "bytes",
            "double",
            "int",
            "list",
            "map",
            "null_type",
            "string",
            "type",
            "uint",
        ];
        if bound || self.variables.contains(&name) || types.contains(&name) {
            return Ok(());
        }
        let name = model::text::escape(name.as_bytes());
        Err(ExpressionError::Unknown { name, known: self.variables })
    }
}

/// Refuses what the language would only miss when a statement is judged.
fn check_function(name: &str, is_method: bool) -> Result<(), ExpressionError> {
    let known = if is_method { METHODS } else { FUNCTIONS };
    let is_operator = name.starts_with(|first: char| "_@!-".contains(first));
    if known.contains(&name) || (is_operator && !is_method) {
        return Ok(());
    }
    Err(ExpressionError::Forbidden {
        what: format!("`{}`", model::text::escape(name.as_bytes())),
        why: "the functions are size, matches, string, int, uint, double, bool, bytes, dyn, type; on a value contains, \
              endsWith, matches, size, startsWith, all, exists, exists_one, filter, map; and has(a.b)",
    })
}

fn check_pattern(part: Option<&IdedExpr>) -> Result<(), ExpressionError> {
    let Some(Expr::Literal(LiteralValue::String(text))) = part.map(|part| &part.expr) else {
        return Err(ExpressionError::Forbidden {
            what: "a pattern of `matches` that is not written out".to_owned(),
            why: "a statement must not choose what it is matched with",
        });
    };
    let forbidden = |why| ExpressionError::Forbidden {
        what: format!("the pattern `{}`", model::text::escape(text.inner().as_bytes())),
        why,
    };
    pattern::check(text.inner()).map_err(|error| match error {
        PatternError::TooLong(got) => {
            ExpressionError::TooLarge { what: "bytes in a pattern", got, most: PATTERN_BYTES_MAX }
        }
        PatternError::TooLarge => forbidden("it stands for too much; repeat less in it"),
        PatternError::Syntax => forbidden("it is no pattern"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(text: &str, predicate: &Value) -> Result<bool, ExpressionError> {
        Expression::compile(text, RULE_VARIABLES)?
            .holds(&[("predicate", predicate)], &Meter::default())
    }

    #[test]
    fn what_is_true_holds_and_anything_else_does_not() {
        let data = json!({"a": [1, 2, 3], "b": "text", "n": {"x": true}, "none": null});
        for (text, wanted) in [
            ("predicate.a.all(x, x > 0)", true),
            ("predicate.a.exists(x, x == 4)", false),
            ("predicate.a.map(x, x * 2) == [2, 4, 6]", true),
            ("predicate.a.filter(x, x > 1).size() == 2", true),
            ("predicate.b.matches('^t.*t$') && predicate.n.x", true),
            ("has(predicate.b) && !has(predicate.c)", true),
            ("predicate.none == null", true),
            ("'b' in predicate", true),
            ("predicate.a.exists_one(x, x > 2)", true),
            ("predicate.a.exists_one(x, x > 1)", false),
            ("predicate.b.startsWith('te') && predicate.b.endsWith('xt')", true),
            ("predicate.b.contains('ex') && predicate.b.size() == 4 && size('ab') == 2", true),
            ("string(1) == '1' && int('2') == 2 && uint(3) == 3u && double(1) == 1.0", true),
            ("bool('true') && bytes('a') == b'a' && dyn(1) == 1 && type(1) == int", true),
            ("matches(predicate.b, 'te') && -(1) < 0 && !(1 > 2 ? true : false)", true),
        ] {
            assert_eq!(holds(text, &data).unwrap(), wanted, "{text}");
        }
        for text in [
            "predicate.c == 1",
            "predicate.b > 1",
            "predicate.a",
            "'true'",
            "1",
            "predicate.b / 0",
            "null",
        ] {
            assert!(holds(text, &data).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_that_would_be_rounded_equals_none() {
        let read =
            |text: &str| serde_json::from_str::<Value>(&format!("{{\"a\":{text}}}")).unwrap();
        for text in ["18446744073709551616", "-9223372036854775809", "9007199254740993.0", "1e300"]
        {
            for rule in [
                "predicate.a == 18446744073709551615u",
                "predicate.a != 1",
                "true || predicate.a == 1",
            ] {
                let got = holds(rule, &read(text));
                assert!(
                    matches!(got, Err(ExpressionError::Inexact { .. })),
                    "{text} {rule}: {got:?}"
                );
            }
        }
        let deep = json!([read("1"), {"b": [read("18446744073709551616")]}]);
        assert!(holds("predicate.size() == 2", &deep).is_err());
        for (text, rule) in [
            ("18446744073709551615", "predicate.a == 18446744073709551615u"),
            ("9223372036854775807", "predicate.a == 9223372036854775807"),
            ("-9223372036854775808", "predicate.a != -9223372036854775807"),
            ("0.5", "predicate.a == 0.5"),
        ] {
            assert!(holds(rule, &read(text)).unwrap(), "{text} {rule}");
        }
    }

    #[test]
    fn a_variable_that_there_is_not_is_told_when_the_policy_is_read() {
        for name in RULE_VARIABLES {
            let text = format!("{name} == 1 || [1].all(own, own == 1)");
            assert!(Expression::compile(&text, RULE_VARIABLES).is_ok());
            let refused = Expression::compile(&text, REQUIRED_VARIABLES);
            match REQUIRED_VARIABLES.contains(name) {
                true => assert!(refused.is_ok(), "{name}"),
                false => assert_eq!(
                    refused.unwrap_err().to_string(),
                    format!("`{name}` is no variable here")
                ),
            }
        }
    }

    #[test]
    fn an_expression_is_bounded_by_its_form() {
        let nested = "predicate.a.all(x, predicate.a.all(y, predicate.a.all(z, x == y && y == z)))";
        let chain = format!(
            "predicate.a.size() == 3 {}",
            "|| predicate.a.all(x, true) ".repeat(LOOPS_MAX + 1)
        );
        let long = format!("predicate == '{}'", "x".repeat(EXPRESSION_BYTES_MAX));
        for text in [
            nested,
            &chain,
            &long,
            &"(".repeat(500),
            &format!("{}true{}", "(".repeat(200), ")".repeat(200)),
            &format!("{}true", "!".repeat(900)),
            &format!("{}1 == 1", "-".repeat(900)),
            &format!("predicate{} == 1", ".a".repeat(500)),
            &format!("{}true", "true ? true : ".repeat(70)),
            "predicate.b + predicate.b == 'x'",
            "predicate.a.map(x, predicate.a + predicate.a).size() == 1",
            "predicate.b.matches(predicate.b)",
            "other.b == 1",
            "nosuch()",
            "nosuch(predicate.b)",
            "timestamp('2026-01-01T00:00:00Z') == null",
            "predicate.b.startswith('t')",
            "predicate.b.bool()",
            "startsWith(predicate.b, 't')",
            "predicate.a.all(x, x.nosuch())",
            "",
            "1 +",
            "\u{0}",
            "predicate.b == \"\\",
        ] {
            assert!(Expression::compile(text, RULE_VARIABLES).is_err(), "{text:.60}");
        }
    }

    #[test]
    fn what_is_as_deep_as_is_allowed_fits_the_stack_of_a_thread() {
        // Tests run on two mebibytes, unoptimised; the attestor's process may start no thread of its own.
        let (open, close) = ("[".repeat(BRACKETS_MAX), "]".repeat(BRACKETS_MAX));
        let pairs = "[{".repeat(BRACKETS_MAX / 2);
        let calls = "size(".repeat(BRACKETS_MAX);
        let signs = |sign: &str| sign.repeat(SIGNS_MAX);
        for text in [
            format!("{open}1{close} == 1"),
            open.clone(),
            pairs.clone(),
            "{".repeat(BRACKETS_MAX),
            format!("{calls}predicate"),
            format!("predicate.a.all(d, {} size(d) > 0)", "[".repeat(BRACKETS_MAX - 2)),
            format!("{}{}true", "(".repeat(BRACKETS_MAX), signs("!")),
            format!("{pairs}{}1", signs("-")),
            format!("{pairs}{}", "true ? ".repeat(BRACKETS_MAX)),
            format!("{pairs}predicate{}", signs(".a")),
            format!("{}true", "(!".repeat(BRACKETS_MAX)),
        ] {
            // What comes of it is no matter; that it comes is.
            let compiled = Expression::compile(&text, RULE_VARIABLES);
            assert!(!matches!(compiled, Err(ExpressionError::TooLarge { .. })), "{text}");
        }
        let deeper = format!("[{open}1{close}] == 1");
        let refused = Expression::compile(&deeper, RULE_VARIABLES);
        assert!(matches!(refused, Err(ExpressionError::TooLarge { .. })), "{refused:?}");
    }

    #[test]
    fn an_expression_is_bounded_by_the_data() {
        let many: Vec<u32> = (0..3000).collect();
        let data = json!({"a": many});
        assert!(holds("predicate.a.all(x, x >= 0)", &data).is_ok());
        let costly = holds("predicate.a.all(x, predicate.a.all(y, x <= y))", &data);
        assert!(matches!(costly, Err(ExpressionError::TooCostly { .. })), "{costly:?}");
        let costly = holds("predicate.a.all(x, predicate == predicate)", &data);
        assert!(matches!(costly, Err(ExpressionError::TooCostly { .. })), "{costly:?}");
    }

    #[test]
    fn all_expressions_of_a_policy_are_bounded_together() {
        let data = json!({"a": (0..600).collect::<Vec<u32>>()});
        let compiled = Expression::compile(
            "predicate.a.all(x, predicate.a.exists(y, x == y))",
            RULE_VARIABLES,
        )
        .unwrap();
        let steps = cost::steps(compiled.program.expression(), &[("predicate", &data)]);
        assert!((STEPS_MAX / 2..STEPS_MAX).contains(&steps), "{steps}");
        let meter = Meter::default();
        let held = (0..100).filter(|_| compiled.holds(&[("predicate", &data)], &meter).is_ok());
        assert_eq!(held.count() as u64, POLICY_STEPS_MAX / steps);
        let after = Expression::compile("true", RULE_VARIABLES).unwrap().holds(&[], &meter);
        assert!(matches!(after, Err(ExpressionError::TooCostlyTogether)), "{after:?}");
        // One that is refused alone has been estimated all the same.
        let (meter, large) = (Meter::default(), json!({"a": (0..3000).collect::<Vec<u32>>()}));
        for _ in 0..POLICY_STEPS_MAX / STEPS_MAX {
            let costly = compiled.holds(&[("predicate", &large)], &meter);
            assert!(matches!(costly, Err(ExpressionError::TooCostly { .. })), "{costly:?}");
        }
        let after = compiled.holds(&[("predicate", &large)], &meter);
        assert!(matches!(after, Err(ExpressionError::TooCostlyTogether)), "{after:?}");
    }

    /// A statement with so many dependencies, and a text of so many bytes in each.
    fn dependencies(count: usize, bytes: usize) -> Value {
        let one =
            |number| json!({"name": format!("{number:0bytes$}"), "uri": "pkg:deb/debian/one"});
        json!({"d": (0..count).map(one).collect::<Vec<_>>()})
    }

    #[test]
    fn a_pattern_counts_by_what_it_stands_for() {
        let data = dependencies(1000, 20);
        for pattern in ["(a{200}){200}", r"(\\w{9}){40}", r"(\\pL|\\d){99}", "(a", "a{9999}"] {
            let text = format!("predicate.d.all(x, x.name.matches(\"{pattern}\") || true)");
            let refused = Expression::compile(&text, RULE_VARIABLES);
            assert!(matches!(refused, Err(ExpressionError::Forbidden { .. })), "{refused:?}");
        }
        for pattern in ["^[0-9]+$", "^v[0-9]+[.][0-9]+$|^[0-9a-f]{20}$"] {
            let once = format!("predicate.d.all(x, x.name.matches('{pattern}') || true)");
            assert!(holds(&once, &data).unwrap(), "{pattern}");
            let twice = format!("predicate.d.all(y, {once})");
            let costly = holds(&twice, &data);
            assert!(matches!(costly, Err(ExpressionError::TooCostly { .. })), "{costly:?}");
        }
        let long = json!({"name": "x".repeat(8 << 20)});
        let costly = holds("predicate.name.matches('(a?){99}(b?){99}(c?){99}$')", &long);
        assert!(matches!(costly, Err(ExpressionError::TooCostly { .. })), "{costly:?}");
    }

    #[test]
    fn what_is_copied_counts_by_its_size() {
        let data = dependencies(300, 400);
        for text in [
            "predicate.d.map(x, predicate.d.map(y, predicate)) == predicate",
            "predicate.d.map(x, [predicate, predicate, predicate]).size() == 0",
            "predicate.d.map(x, {'a': predicate, 'b': predicate.d}) == []",
            "predicate.d.all(x, [predicate.d, predicate.d, predicate.d, predicate.d].all(y, true))",
            "[predicate.d.map(x, predicate.d)].all(y, predicate.d.all(z, y == y))",
            "predicate.d.all(x, predicate.d.all(y, [x, y, x, y, x, y, x, y].size() == 8))",
        ] {
            let costly = holds(text, &data);
            assert!(matches!(costly, Err(ExpressionError::TooCostly { .. })), "{text}: {costly:?}");
        }
        for text in [
            "predicate.d.map(x, x.name).size() == 300",
            "predicate.d.filter(x, x.uri.startsWith('pkg:deb/')).size() == 300",
            "predicate.d.all(x, predicate.d.exists(y, x.name == y.name))",
            "predicate.d.map(x, x) == predicate.d",
        ] {
            assert!(holds(text, &data).unwrap(), "{text}");
        }
    }
}

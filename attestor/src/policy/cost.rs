//! What an expression could cost over the data it is given, estimated before it runs.
//!
//! The expression is walked once, each part of it with the values that it could have there: parts of the
//! data, all places of a loop's list at once, or something that the expression makes, of which only the size
//! is known. A step is about what one comparison of small values takes. The estimate is never less than
//! what happens: whatever is read counts by its size, whatever is copied counts by its size, and a loop
//! counts its body once for each turn that its longest list has. `matches` compiles its pattern each time
//! it is called, so that counts too.
//!
//! Source: the evaluator of the crate `cel` 0.15: variables and members are borrowed; lists, maps and the
//! variable of a loop are copies.

use std::collections::HashMap;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use serde_json::Value;

use super::pattern;

/// What one value takes: most are a letter or two in a table.
const VALUE: u64 = 4;
/// How many letters are read or copied in a step.
const LETTERS: u64 = 16;
/// A member is looked up by every part of its path.
const MEMBER: u64 = 4;
/// Most places of the data that are followed at once; of more, only their sizes are known.
const PLACES_MAX: usize = 1 << 16;

/// The size of a value.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// All of it, in steps.
    whole: u64,
    /// How many items a loop over it has.
    items: u64,
    /// The largest of them.
    item: u64,
}

impl Size {
    fn of_text(letters: usize) -> Size {
        let whole = VALUE.saturating_add(letters as u64 / LETTERS);
        Size { whole, items: 0, item: 0 }
    }

    /// Something of which only the size is known: it could be one list of many, or of one.
    fn any(whole: u64) -> Size {
        Size { whole, items: whole, item: whole }
    }

    fn join(self, other: Size) -> Size {
        Size {
            whole: self.whole.max(other.whole),
            items: self.items.max(other.items),
            item: self.item.max(other.item),
        }
    }
}

/// What a part of an expression could be.
#[derive(Clone, Debug)]
enum Shape<'a> {
    /// One of these places of the data.
    Data(Vec<&'a Value>),
    /// Something made.
    Made(Size),
}

/// Returns the steps that an expression could take over these variables.
pub(super) fn steps(expression: &IdedExpr, variables: &[(&'static str, &Value)]) -> u64 {
    let mut cost = Cost { sizes: HashMap::new(), variables, bound: Vec::new(), steps: 0, turns: 1 };
    for (_, value) in variables {
        // Each is turned into a value of the language first.
        let size = cost.measure(value);
        cost.charge(size.whole);
    }
    cost.part(expression);
    cost.steps
}

struct Cost<'a> {
    /// Of every list and map of the data, by its place.
    sizes: HashMap<*const Value, Size>,
    variables: &'a [(&'static str, &'a Value)],
    /// The variables of the loops around, the innermost last.
    bound: Vec<(&'a str, Shape<'a>)>,
    steps: u64,
    /// How often the part that is looked at runs.
    turns: u64,
}

impl<'a> Cost<'a> {
    fn charge(&mut self, steps: u64) {
        self.steps = self.steps.saturating_add(self.turns.saturating_mul(steps));
    }

    /// Measures the data once, from the leaves.
    fn measure(&mut self, value: &Value) -> Size {
        let mut all = Size { whole: VALUE, items: 0, item: 0 };
        let mut add = |one: Size| {
            all.whole = all.whole.saturating_add(one.whole);
            all.item = all.item.max(one.whole);
        };
        match value {
            Value::Array(items) => items.iter().for_each(|item| add(self.measure(item))),
            Value::Object(members) => members.iter().for_each(|(name, item)| {
                add(Size::of_text(name.len()));
                add(self.measure(item));
            }),
            leaf => return size_of_leaf(leaf),
        }
        all.items = children(value) as u64;
        self.sizes.insert(std::ptr::from_ref(value), all);
        all
    }

    fn size(&self, shape: &Shape<'_>) -> Size {
        match shape {
            Shape::Made(size) => *size,
            Shape::Data(places) => places.iter().fold(Size::default(), |all, place| {
                let known = self.sizes.get(&std::ptr::from_ref::<Value>(place)).copied();
                all.join(known.unwrap_or_else(|| size_of_leaf(place)))
            }),
        }
    }

    fn whole(&self, shape: &Shape<'_>) -> u64 {
        self.size(shape).whole
    }

    /// Counts a part, and returns what it could be.
    fn part(&mut self, part: &'a IdedExpr) -> Shape<'a> {
        self.charge(1);
        match &part.expr {
            Expr::Unspecified | Expr::Struct(_) => Shape::Made(Size::default()),
            Expr::Literal(literal) => Shape::Made(match literal {
                LiteralValue::String(text) => Size::of_text(text.inner().len()),
                LiteralValue::Bytes(bytes) => Size::of_text(bytes.inner().len()),
                _ => Size::of_text(0),
            }),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                let operand = self.part(&select.operand);
                self.charge(MEMBER);
                self.member(operand, Some(&select.field))
            }
            Expr::List(list) => {
                let parts: Vec<_> = list.elements.iter().map(|one| self.part(one)).collect();
                self.copy(&parts)
            }
            Expr::Map(map) => {
                let mut parts = Vec::with_capacity(map.entries.len() * 2);
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(one) => {
                            parts.extend([self.part(&one.key), self.part(&one.value)]);
                        }
                        EntryExpr::StructField(one) => parts.push(self.part(&one.value)),
                    }
                }
                self.copy(&parts)
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(inner) => self.repeat(inner),
        }
    }

    fn variable(&self, name: &str) -> Shape<'a> {
        // With a leading dot the language skips the loops' own variables; either is counted.
        let bare = name.strip_prefix('.').unwrap_or(name);
        let bound = self.bound.iter().rev().find(|(one, _)| *one == bare);
        let given = self.variables.iter().find(|(one, _)| *one == bare);
        match (bound, given) {
            (Some((_, shape)), _) if bare == name => shape.clone(),
            (_, Some((_, value))) => Shape::Data(vec![value]),
            (Some((_, shape)), None) => shape.clone(),
            (None, None) => Shape::Made(Size::of_text(0)),
        }
    }

    /// Copies values into a list or a map.
    fn copy(&mut self, parts: &[Shape<'a>]) -> Shape<'a> {
        let mut all = Size { whole: VALUE, items: parts.len() as u64, item: 0 };
        for part in parts {
            let whole = self.whole(part);
            all.whole = all.whole.saturating_add(whole);
            all.item = all.item.max(whole);
        }
        self.charge(all.whole);
        Shape::Made(all)
    }

    /// Returns a member by its name, or any of them.
    fn member(&mut self, of: Shape<'a>, name: Option<&str>) -> Shape<'a> {
        match (of, name) {
            (Shape::Data(places), Some(name)) => {
                Shape::Data(places.into_iter().filter_map(|place| place.get(name)).collect())
            }
            (Shape::Data(places), None) => {
                let count: usize = places.iter().map(|place| children(place)).sum();
                if count > PLACES_MAX {
                    return Shape::Made(Size::any(self.size(&Shape::Data(places)).item));
                }
                Shape::Data(places.into_iter().flat_map(values).collect())
            }
            (made @ Shape::Made(_), _) => {
                // What was made is taken apart or copied.
                let size = self.size(&made);
                self.charge(size.whole);
                Shape::Made(Size::any(size.item))
            }
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Shape<'a> {
        let target = call.target.iter().map(|target| &**target);
        let parts: Vec<_> = target.chain(&call.args).map(|one| self.part(one)).collect();
        let sizes: Vec<Size> = parts.iter().map(|part| self.size(part)).collect();
        let sum = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(size.whole));
        let truth = Shape::Made(Size::of_text(0));
        match (call.func_name.as_str(), &sizes[..]) {
            ("_&&_" | "_||_" | "!_", _) => truth,
            ("_?_:_", [_, first, second]) => match &parts[..] {
                [_, Shape::Data(first), Shape::Data(second)]
                    if first.len() + second.len() <= PLACES_MAX =>
                {
                    Shape::Data(first.iter().chain(second).copied().collect())
                }
                _ => Shape::Made(first.join(*second)),
            },
            // Different sizes are found out at once, and equal ones are read once.
            ("_==_" | "_!=_", [first, second]) => {
                self.charge(first.whole.min(second.whole));
                truth
            }
            ("_[_]", [_, by]) => {
                self.charge(MEMBER.saturating_add(by.whole));
                match parts.into_iter().next() {
                    Some(of) => self.member(of, None),
                    None => truth,
                }
            }
            ("matches", [.., subject, _]) => {
                let text = call.args.last().map(|part| &part.expr);
                let pattern = match text {
                    Some(Expr::Literal(LiteralValue::String(text))) => text.inner(),
                    _ => "",
                };
                self.charge(pattern::steps(pattern, subject.whole.saturating_mul(LETTERS)));
                truth
            }
            // Whatever else there is may read and copy all that it is given.
            (_, _) => {
                self.charge(sum);
                Shape::Made(Size::any(sum.saturating_add(VALUE)))
            }
        }
    }

    fn repeat(&mut self, inner: &'a ComprehensionExpr) -> Shape<'a> {
        let range = self.part(&inner.iter_range);
        let size = self.size(&range);
        // Its variable is a copy of each item in turn.
        self.charge(size.whole);
        let start = self.part(&inner.accu_init);
        let start_size = self.size(&start);
        let item = match range {
            Shape::Data(places) if places.iter().all(|place| place.is_array()) => {
                self.member(Shape::Data(places), None)
            }
            // Of a map, the names.
            _ => Shape::Made(Size::any(size.item)),
        };
        let before = (self.bound.len(), self.turns);
        self.bound.push((&inner.iter_var, item.clone()));
        if let Some(second) = &inner.iter_var2 {
            self.bound.push((second, item));
        }
        self.bound.push((&inner.accu_var, start));
        self.turns = self.turns.saturating_mul(size.items.max(1));
        self.part(&inner.loop_cond);
        let added = self.step(&inner.loop_step, &inner.accu_var);
        self.turns = before.1;
        let made = match added {
            // `map` and `filter` collect as many as there are turns.
            Some(item) => Size {
                whole: VALUE.saturating_add(item.saturating_mul(size.items)),
                items: size.items,
                item,
            },
            None => start_size,
        };
        if let Some((_, held)) = self.bound.last_mut() {
            *held = Shape::Made(made);
        }
        let result = self.part(&inner.result);
        self.bound.truncate(before.0);
        result
    }

    /// Counts the step of a loop; returns the size of what it adds to a list, where it adds.
    fn step(&mut self, step: &'a IdedExpr, held: &str) -> Option<u64> {
        let Expr::Call(call) = &step.expr else {
            self.part(step);
            return None;
        };
        match (call.func_name.as_str(), &call.args[..]) {
            ("_+_", [list, add]) if matches!(&list.expr, Expr::Ident(name) if name == held) => {
                let added = self.part(add);
                let item = self.size(&added).item;
                // Copied once more, into the list that grows.
                self.charge(item.saturating_add(VALUE));
                Some(item)
            }
            ("_?_:_", [condition, add, _]) => {
                self.part(condition);
                self.step(add, held)
            }
            _ => {
                self.part(step);
                None
            }
        }
    }
}

fn size_of_leaf(value: &Value) -> Size {
    Size::of_text(value.as_str().map_or(0, str::len))
}

fn children(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn values(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

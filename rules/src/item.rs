//! One detection item (field, modifiers, values) to a tree of atoms.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::{IpNet, Ipv4Net};
use rsigma_parser::{DetectionItem, Modifier, SigmaValue};

use crate::atom::{Atoms, Field};
use crate::error::RuleError;
use crate::node::Node;
use crate::pattern::Pattern;
use crate::pcre;
use crate::predicate::{Comparison, Expression, Number, Predicate, Relation};
use crate::time_part::TimePart;

/// Compiles one item. A list of values is a disjunction, with `all` a conjunction.
///
/// # Errors
/// Why the rule must be rejected.
pub(crate) fn compile(item: &DetectionItem, atoms: &mut Atoms) -> Result<Node, RuleError> {
    let field = match &item.field.name {
        Some(name) => Field::Named(field_name(name)),
        None => Field::Keywords,
    };
    let context =
        Context { key: key_of(item), modifiers: &item.field.modifiers, keywords: field == Field::Keywords };
    context.check(item)?;
    let field = atoms.field(field);
    let has = |m| item.field.modifiers.contains(&m);
    let mut values = Vec::new();
    for value in &item.values {
        let predicates = context.predicates(value, atoms)?;
        let alternatives = predicates.into_iter().map(|p| Node::Atom(atoms.intern(field, p))).collect();
        values.push(Node::or(alternatives));
    }
    let linked = if has(Modifier::All) { Node::and(values) } else { Node::or(values) };
    let negated = has(Modifier::Neq)
        || matches!(item.values.as_slice(), [SigmaValue::Bool(false)] if has(Modifier::Exists));
    Ok(if negated { Node::Not(Box::new(linked)) } else { linked })
}

/// Field names of records are looked up without spaces, as the specification asks; brackets that the parser
/// escaped are literal.
fn field_name(name: &str) -> Arc<str> {
    let name: String = name.chars().filter(|c| !c.is_whitespace()).collect();
    name.replace("\\[", "[").replace("\\]", "]").into()
}

/// The detection key as written, about.
pub(crate) fn key_of(item: &DetectionItem) -> String {
    let name = item.field.name.as_deref().unwrap_or_default();
    let modifiers = item.field.modifiers.iter().map(|m| format!("|{m:?}").to_lowercase());
    std::iter::once(name.to_owned()).chain(modifiers).collect()
}

/// The modifiers of an item and how they read its values.
struct Context<'a> {
    key: String,
    modifiers: &'a [Modifier],
    keywords: bool,
}

impl Context<'_> {
    fn has(&self, modifier: Modifier) -> bool {
        self.modifiers.contains(&modifier)
    }

    fn bad(&self, problem: impl Into<String>) -> RuleError {
        RuleError::Value { key: self.key.clone(), problem: problem.into() }
    }

    /// Refuses what cannot mean anything, rather than guess.
    fn check(&self, item: &DetectionItem) -> Result<(), RuleError> {
        if item.values.is_empty() {
            return Err(self.bad("an empty list matches nothing; give it values or remove the key"));
        }
        let first = |m: Modifier| !self.has(m) || self.modifiers.first() == Some(&m);
        for (modifier, name) in [
            (Modifier::Re, "re"),
            (Modifier::Exists, "exists"),
            (Modifier::Cidr, "cidr"),
            (Modifier::FieldRef, "fieldref"),
        ] {
            if !first(modifier) {
                return Err(self.bad(format!("`{name}` must be the first modifier")));
            }
        }
        let flags = [Modifier::IgnoreCase, Modifier::Multiline, Modifier::DotAll];
        if flags.iter().any(|f| self.has(*f)) && !self.has(Modifier::Re) {
            return Err(self.bad("i, m and s are flags of `re`"));
        }
        if self.keywords && (self.has(Modifier::Exists) || self.has(Modifier::FieldRef)) {
            return Err(self.bad("`exists` and `fieldref` need a field"));
        }
        self.check_combination()
    }

    /// Each way of reading a value allows certain other modifiers.
    fn check_combination(&self) -> Result<(), RuleError> {
        use Modifier::{All, Cased, Cidr, Contains, EndsWith, Exists, FieldRef, Neq, Re, StartsWith};
        let allowed: &[Modifier] = if self.has(Re) {
            &[
                Re,
                Modifier::IgnoreCase,
                Modifier::Multiline,
                Modifier::DotAll,
                All,
                Neq,
                Contains,
                StartsWith,
                EndsWith,
                Cased,
            ]
        } else if self.has(Cidr) {
            &[Cidr, All, Neq]
        } else if self.has(Exists) {
            &[Exists]
        } else if self.has(FieldRef) {
            &[FieldRef, Neq, Contains, StartsWith, EndsWith, Cased, All]
        } else if let Some(m) = self.modifiers.iter().find(|m| is_numeric(**m)) {
            let odd = self.modifiers.iter().find(|m| !is_numeric(**m) && !matches!(m, All | Neq));
            return odd.map_or(Ok(()), |odd| {
                Err(self.bad(format!("`{}` does not go with `{}`", lower(odd), lower(m))))
            });
        } else {
            return Ok(());
        };
        match self.modifiers.iter().find(|m| !allowed.contains(m)) {
            Some(m) => Err(self.bad(format!("`{}` does not go with `{}`", lower(m), lower(&allowed[0])))),
            None => Ok(()),
        }
    }

    /// The predicates of one value, any of which satisfies it.
    fn predicates(&self, value: &SigmaValue, atoms: &mut Atoms) -> Result<Vec<Predicate>, RuleError> {
        if self.has(Modifier::Exists) {
            return match value {
                SigmaValue::Bool(_) => Ok(vec![Predicate::Exists]),
                _ => Err(self.bad("`exists` takes true or false")),
            };
        }
        if self.has(Modifier::Re) {
            return Ok(vec![self.regex(value)?]);
        }
        if self.has(Modifier::Cidr) {
            return Ok(vec![self.cidr(value)?]);
        }
        if self.has(Modifier::FieldRef) {
            return Ok(vec![self.field_ref(value, atoms)?]);
        }
        let time_part = self.modifiers.iter().find_map(|m| TimePart::from_modifier(*m));
        let comparison = self.modifiers.iter().find_map(|m| comparison(*m));
        match (time_part, comparison) {
            (None, None) => self.texts(value),
            (None, Some(comparison)) => {
                let number = Number::parse(&value.to_string());
                let number =
                    number.ok_or_else(|| self.bad(format!("{value} is no number to compare with")))?;
                Ok(vec![Predicate::Compare(comparison, number)])
            }
            (Some(part), comparison) => {
                let number =
                    value.to_string().parse().map_err(|_| self.bad(format!("{value} is no number")))?;
                Ok(vec![Predicate::Time(part, comparison.unwrap_or(Comparison::Equal), number)])
            }
        }
    }

    fn regex(&self, value: &SigmaValue) -> Result<Predicate, RuleError> {
        let written = value.to_string();
        let source = pcre::translated(&written);
        let flags: String =
            [(Modifier::IgnoreCase, 'i'), (Modifier::Multiline, 'm'), (Modifier::DotAll, 's')]
                .into_iter()
                .filter_map(|(modifier, flag)| self.has(modifier).then_some(flag))
                .collect();
        let anchored = match (self.has(Modifier::StartsWith), self.has(Modifier::EndsWith)) {
            // Of the value, also where `m` lets `^` and `$` stand for those of its lines.
            (true, _) => format!(r"\A(?:{source})"),
            (_, true) => format!(r"(?:{source})\z"),
            _ => source,
        };
        let full = if flags.is_empty() { anchored } else { format!("(?{flags}){anchored}") };
        let compiled = Expression::new(full);
        let problem = |problem| RuleError::Regex { key: self.key.clone(), pattern: written, problem };
        compiled.map(Predicate::Regex).map_err(problem)
    }

    fn cidr(&self, value: &SigmaValue) -> Result<Predicate, RuleError> {
        let text = value.to_string();
        let net = text.parse().or_else(|_| text.parse().map(|ip: std::net::IpAddr| ip.into()));
        net.map(|net| Predicate::Cidr(unmapped(net)))
            .map_err(|_| self.bad(format!("{text} is no network in CIDR notation")))
    }

    fn field_ref(&self, value: &SigmaValue, atoms: &mut Atoms) -> Result<Predicate, RuleError> {
        let SigmaValue::String(other) = value else { return Err(self.bad("`fieldref` takes a field name")) };
        let relation = if self.has(Modifier::Contains) {
            Relation::Contains
        } else if self.has(Modifier::StartsWith) {
            Relation::StartsWith
        } else if self.has(Modifier::EndsWith) {
            Relation::EndsWith
        } else {
            Relation::Equals
        };
        let other = atoms.field(Field::Named(field_name(&other.original)));
        Ok(Predicate::FieldRef { other, relation, cased: self.has(Modifier::Cased) })
    }

    fn null(&self) -> Result<Vec<Predicate>, RuleError> {
        let of_text = |m: &&Modifier| !matches!(m, Modifier::All | Modifier::Neq);
        match self.modifiers.iter().find(of_text) {
            Some(modifier) => Err(self.bad(format!("`{}` needs a text; null is none", lower(modifier)))),
            None => Ok(vec![Predicate::Null]),
        }
    }

    /// Text patterns: the modifiers apply from left to right.
    fn texts(&self, value: &SigmaValue) -> Result<Vec<Predicate>, RuleError> {
        let patterns = match value {
            SigmaValue::Null if self.keywords => return Err(self.bad("a keyword cannot be null")),
            SigmaValue::Null => return self.null(),
            SigmaValue::String(text) => vec![Pattern::from_sigma(text)],
            // `1.0` is written so in some events, and `1` in others.
            SigmaValue::Float(number) if number.fract() == 0.0 => {
                vec![Pattern::literal(&format!("{number:.1}")), Pattern::literal(&number.to_string())]
            }
            other => vec![Pattern::literal(&other.to_string())],
        };
        let mut patterns: Vec<Encoding> = patterns.into_iter().map(Encoding::Text).collect();
        for modifier in self.modifiers {
            let applied = patterns.into_iter().map(|p| p.apply(*modifier)).collect::<Result<Vec<_>, _>>();
            patterns = applied.map_err(|problem| self.bad(problem))?.concat();
        }
        let cased = self.has(Modifier::Cased);
        let patterns: Result<Vec<Pattern>, String> =
            patterns.into_iter().map(Encoding::into_pattern).collect();
        let finish = |p: Pattern| {
            Predicate::Text(if self.keywords { p.wrapped(true, true) } else { p }.finished(cased))
        };
        Ok(patterns.map_err(|problem| self.bad(problem))?.into_iter().map(finish).collect())
    }
}

/// The v4 network that a v4-mapped one (`::ffff:10.0.0.0/104`) is.
fn unmapped(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(net, IpNet::V4)
}

fn lower(modifier: &Modifier) -> String {
    format!("{modifier:?}").to_lowercase()
}

fn is_numeric(modifier: Modifier) -> bool {
    comparison(modifier).is_some() || TimePart::from_modifier(modifier).is_some()
}

fn comparison(modifier: Modifier) -> Option<Comparison> {
    Some(match modifier {
        Modifier::Lt => Comparison::Less,
        Modifier::Lte => Comparison::LessOrEqual,
        Modifier::Gt => Comparison::Greater,
        Modifier::Gte => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

/// The text that the encodings at the beginning of `modifiers` make of a plain text, and the modifiers that are left;
/// `None` where there are none, or where the compiler will say what is wrong with them.
pub(crate) fn encoded<'m>(plain: &str, modifiers: &'m [Modifier]) -> Option<(String, &'m [Modifier])> {
    let count = modifiers.iter().take_while(|m| Encoding::encodes(**m)).count();
    let (encodings, rest) = modifiers.split_at(count);
    if encodings.is_empty() || rest.iter().any(|m| Encoding::encodes(*m) || expands(*m)) {
        return None;
    }
    let text = Encoding::Text(Pattern::literal(plain));
    let applied = encodings.iter().try_fold(text, |text, m| text.apply(*m).ok()?.into_iter().next())?;
    Some((applied.into_pattern().ok()?.plain()?, rest))
}

/// Whether the modifier makes several texts of one.
pub(crate) const fn expands(modifier: Modifier) -> bool {
    matches!(modifier, Modifier::WindAsh | Modifier::Base64Offset)
}

/// A value on its way through its modifiers: still text, or bytes of an encoding.
#[derive(Clone)]
enum Encoding {
    Text(Pattern),
    Bytes(Vec<u8>),
}

impl Encoding {
    fn apply(self, modifier: Modifier) -> Result<Vec<Encoding>, String> {
        let one = |e| Ok(vec![e]);
        match modifier {
            Modifier::Contains => one(self.wrapped(true, true)?),
            Modifier::StartsWith => one(self.wrapped(false, true)?),
            Modifier::EndsWith => one(self.wrapped(true, false)?),
            Modifier::WindAsh => match self {
                Encoding::Text(pattern) => one(Encoding::Text(pattern.windash())),
                Encoding::Bytes(_) => Err("`windash` must stand before the encodings".to_owned()),
            },
            Modifier::Wide => self.encode(|text| one_bytes(utf16(text, u16::to_le_bytes))),
            Modifier::Utf16be => self.encode(|text| one_bytes(utf16(text, u16::to_be_bytes))),
            // UTF-16 without an order named: byte order mark, then little endian.
            Modifier::Utf16 => {
                self.encode(|text| one_bytes([vec![0xFF, 0xFE], utf16(text, u16::to_le_bytes)].concat()))
            }
            Modifier::Base64 => self.encode_bytes(|bytes| vec![STANDARD.encode(bytes)]),
            Modifier::Base64Offset => {
                self.encode_bytes(|bytes| (0..3).map(|at| base64_at(bytes, at)).collect())
            }
            _ => one(self),
        }
    }

    /// Whether the modifier makes one text of a text.
    const fn encodes(modifier: Modifier) -> bool {
        matches!(modifier, Modifier::Wide | Modifier::Utf16be | Modifier::Utf16 | Modifier::Base64)
    }

    fn wrapped(self, before: bool, after: bool) -> Result<Encoding, String> {
        self.into_pattern().map(|p| Encoding::Text(p.wrapped(before, after)))
    }

    fn into_pattern(self) -> Result<Pattern, String> {
        match self {
            Encoding::Text(pattern) => Ok(pattern),
            Encoding::Bytes(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Pattern::literal(&text)),
                Err(_) => {
                    Err("UTF-16 bytes are no text by themselves: add base64 or base64offset".to_owned())
                }
            },
        }
    }

    fn encode(self, encode: impl Fn(&str) -> Vec<Encoding>) -> Result<Vec<Encoding>, String> {
        match self {
            Encoding::Text(pattern) => {
                Ok(plain_texts(pattern)?.iter().flat_map(|text| encode(text)).collect())
            }
            Encoding::Bytes(_) => Err("one character encoding is enough".to_owned()),
        }
    }

    fn encode_bytes(self, encode: impl Fn(&[u8]) -> Vec<String>) -> Result<Vec<Encoding>, String> {
        let inputs = match self {
            Encoding::Text(pattern) => plain_texts(pattern)?.into_iter().map(String::into_bytes).collect(),
            Encoding::Bytes(bytes) => vec![bytes],
        };
        let literal = |text: String| match text.is_empty() {
            true => Err("the text is too short to stand in Base64 by itself".to_owned()),
            false => Ok(Encoding::Text(Pattern::literal(&text))),
        };
        inputs.iter().flat_map(|bytes| encode(bytes)).map(literal).collect()
    }
}

fn one_bytes(bytes: Vec<u8>) -> Vec<Encoding> {
    vec![Encoding::Bytes(bytes)]
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

fn plain_texts(pattern: Pattern) -> Result<Vec<String>, String> {
    let alternatives = pattern.dashes_as_text().map_err(|n| format!("{n} dashes are too many to encode"))?;
    let plain = |p: Pattern| {
        p.plain().ok_or_else(|| "a wildcard cannot be encoded; escape it with a backslash".to_owned())
    };
    alternatives.into_iter().map(plain).collect()
}

/// The part of the Base64 text that `bytes` determine wholly when they stand `at` bytes (mod 3) into the data.
/// The first characters still hold bits of what stands before, the last ones bits of what follows.
fn base64_at(bytes: &[u8], at: usize) -> String {
    let encoded = STANDARD.encode([vec![b' '; at], bytes.to_vec()].concat());
    let start = [0, 2, 3][at];
    let undetermined = [0, 3, 2][(bytes.len() + at) % 3];
    encoded.get(start..encoded.len() - undetermined).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_offsets_find_the_text_at_every_alignment() {
        for word in ["http://", "IEX", "ab", "powershell -enc"] {
            for at in 0..9 {
                let data = format!("{}{word}{}", "x".repeat(at), "y".repeat(at / 3));
                let encoded = STANDARD.encode(data);
                let part = base64_at(word.as_bytes(), at % 3);
                assert!(encoded.contains(&part), "{word} at {at}: {part} in {encoded}");
            }
        }
    }
}

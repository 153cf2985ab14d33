//! Dotted paths into a record.

/// Where a value stands: steps from the top of the event, or of its envelope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    /// Counted from the envelope of an exploded event (`^`).
    pub(crate) in_envelope: bool,
    /// Member names; on a list, an index or `name=value`; `*` at the end of a root means every child object.
    pub(crate) steps: Vec<Box<str>>,
}

impl Path {
    /// Reads `a.b.c`, `^a.b`, `` (the event itself) or `^` (the envelope itself).
    pub(crate) fn parse(text: &str) -> Self {
        let (in_envelope, rest) = match text.strip_prefix('^') {
            Some(rest) => (true, rest.trim_start_matches('.')),
            None => (false, text),
        };
        let steps = if rest.is_empty() { Vec::new() } else { rest.split('.').map(strip_spaces).collect() };
        Self { in_envelope, steps }
    }

    /// This path, then `name`: once with its dots as steps, once as one member name that contains dots.
    pub(crate) fn join(&self, name: &str) -> Vec<Path> {
        let mut nested = self.clone();
        nested.steps.extend(name.split('.').map(strip_spaces));
        if !name.contains('.') {
            return vec![nested];
        }
        let mut literal = self.clone();
        literal.steps.push(strip_spaces(name));
        vec![literal, nested]
    }

    /// Both readings of a dotted text: as steps, and as one member name.
    pub(crate) fn readings(text: &str) -> Vec<Path> {
        let nested = Path::parse(text);
        if nested.steps.len() < 2 {
            return vec![nested];
        }
        let top = Path { in_envelope: nested.in_envelope, steps: Vec::new() };
        top.join(text.trim_start_matches('^').trim_start_matches('.'))
    }
}

/// Names are matched without spaces, as Sigma's field names are written.
pub(crate) fn strip_spaces(name: &str) -> Box<str> {
    if name.contains(' ') { name.replace(' ', "").into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(path: &Path) -> Vec<&str> {
        path.steps.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn reads_paths() {
        assert_eq!(steps(&Path::parse("Event.System.EventID")), ["Event", "System", "EventID"]);
        assert!(Path::parse("^time").in_envelope);
        assert_eq!(steps(&Path::parse("^")), [""; 0]);
        let both = Path::parse("Event").join("a.b c");
        assert_eq!(
            both.iter().map(steps).collect::<Vec<_>>(),
            [vec!["Event", "a.bc"], vec!["Event", "a", "bc"]]
        );
    }
}

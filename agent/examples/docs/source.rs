//! Figures that are private to a module, read from its source: a page shall not be the reason to
//! make a constant public.

use std::{fs, path::Path};

/// The value of an integer constant, or of a duration in nanoseconds, in the file `module.rs` (or
/// `module/mod.rs`) below `agent/src`. `within` is a part of the file's path, where several modules
/// have the name.
pub(crate) fn constant(within: &str, name: &str) -> u64 {
    let mut found = vec![];
    files(&root().join("agent/src"), &mut |path, text| {
        if path.contains(within)
            && let Some(expression) = definition(text, name)
        {
            found.push((path.to_owned(), value(&expression)));
        }
    });
    match &found[..] {
        [(_, Some(value))] => *value,
        [(path, None)] => panic!("{path}: {name} is no number that this page can read"),
        _ => panic!("there is not one constant {name} in a file like {within}: {found:?}"),
    }
}

/// How many entries a BPF map has.
pub(crate) fn map_entries(name: &str) -> u64 {
    let path = root().join("agent-ebpf/src/maps.rs");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, after) =
        text.split_once(&format!(" static {name}:")).unwrap_or_else(|| panic!("there is no map {name}"));
    let (_, after) = after.split_once("with_max_entries(").expect("a map has a size");
    let expression = after.split(',').next().unwrap_or_default();
    value(expression).unwrap_or_else(|| panic!("the map {name} has {expression} entries"))
}

/// Every file of the agent whose name ends in `.rs`, with its path below the root and its text.
pub(crate) fn files(directory: &Path, visit: &mut impl FnMut(&str, &str)) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            visit(&path.to_string_lossy(), &text);
        }
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the agent lies in the workspace")
}

/// What follows the equals sign.
fn definition(text: &str, name: &str) -> Option<String> {
    let (_, after) = text.split_once(&format!("const {name}: "))?;
    let (_, expression) = after.split_once(" = ")?;
    Some(expression.split(';').next()?.to_owned())
}

/// `64 * 1024`, `1 << 30`, `65_536`, `Duration::from_secs(2)`, `(4 << 20) / NAME`.
fn value(expression: &str) -> Option<u64> {
    let expression = expression.trim();
    for (call, nanos) in [("Duration::from_secs(", 1_000_000_000), ("Duration::from_millis(", 1_000_000)] {
        if let Some(number) = expression.strip_prefix(call) {
            return value(number.strip_suffix(')')?)?.checked_mul(nanos);
        }
    }
    if let Some((number, shift)) = expression.split_once("<<") {
        return value(number)?.checked_shl(u32::try_from(value(shift)?).ok()?);
    }
    expression
        .split('*')
        .try_fold(1_u64, |product, factor| product.checked_mul(factor.trim().replace('_', "").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_as_they_are_written() {
        let written = ["65_536", "64 * 1024", "1 << 30", "Duration::from_secs(7 * 24 * 3_600)", "MAX"];
        let read = [Some(65_536), Some(65_536), Some(1 << 30), Some(604_800_000_000_000), None];
        assert_eq!(written.map(value), read);
        assert_eq!(definition("/// x\npub(super) const A: usize = 5;\n", "A").as_deref(), Some("5"));
    }
}

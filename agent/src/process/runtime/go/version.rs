//! What differs between versions of Go: where a goroutine keeps its number, and the number of the
//! goroutine that started it.

/// Offsets of `goid` in `runtime.g` by minor versions of Go 1. Those of 1.19 and since 1.21 are from
/// the toolchains' own type information, of a program built with each:
/// `GOTOOLCHAIN=go1.N.P go build -o x . && gdb -batch -ex "print &(('runtime.g' *)0)->goid" x`.
///
/// The toolchains of 1.17, 1.18 and 1.20 were not available. The fields before `goid` are the same
/// from 1.9 to 1.22. Go 1.23 put `syscallbp` before it, 1.25 took `ret` from `gobuf`.
const GOID: [(u32, u32, u32); 3] = [(17, 22, 152), (23, 24, 160), (25, 26, 152)];

/// The same of `parentGoid`, which 1.21 brought; from the toolchains' own type information of 1.21
/// to 1.26.
const PARENT: [(u32, u32, u32); 4] = [(21, 22, 272), (23, 24, 280), (25, 25, 272), (26, 26, 280)];

/// The offset of `goid` in programs of this version; `None`: unknown. Before 1.17 no register held
/// the goroutine.
pub(super) fn goid(version: &str) -> Option<u32> {
    offset(&GOID, version)
}

/// The offset of `parentGoid`; `None`: unknown, or there is none.
pub(super) fn parent(version: &str) -> Option<u32> {
    offset(&PARENT, version)
}

fn offset(table: &[(u32, u32, u32)], version: &str) -> Option<u32> {
    let minor = minor(version)?;
    table.iter().find(|(first, last, _)| (*first..=*last).contains(&minor)).map(|(_, _, offset)| *offset)
}

/// The 26 of `go1.26.8`, also of release candidates and of what distributions append. Without
/// registers for arguments, which could be switched off in the first versions that had them, the
/// goroutine is in none.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = rest.split_at(digits);
    let known = rest.is_empty() || [".", "rc", " ", "-"].iter().any(|next| rest.starts_with(next));
    if !known || rest.contains("noregabi") { None } else { number.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, expected) in [
            ("go1.17", Some(152)),
            ("go1.17 X:noregabi", None),
            ("go1.22.12", Some(152)),
            ("go1.23rc1", Some(160)),
            ("go1.24.9", Some(160)),
            ("go1.25.4 X:boringcrypto", Some(152)),
            ("go1.22.9 (Red Hat 1.22.9-2.el9)", Some(152)),
            ("go1.26.8-custom", Some(152)),
            ("go1.16.15", None),
            ("go1.99", None),
            ("go1.26beta1", None),
            ("go1.", None),
            ("go2.1", None),
            ("devel go1.26-d1c45d2", None),
            ("", None),
        ] {
            assert_eq!(goid(version), expected, "{version}");
        }
        for (version, expected) in [
            ("go1.20.14", None),
            ("go1.21.13", Some(272)),
            ("go1.24.9", Some(280)),
            ("go1.25.4", Some(272)),
            ("go1.26.8", Some(280)),
            ("go1.27", None),
        ] {
            assert_eq!(parent(version), expected, "{version}");
        }
    }
}

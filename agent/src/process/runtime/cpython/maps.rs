//! The files that a process has mapped, and where: /proc/PID/maps (`show_map_vma`,
//! <https://github.com/torvalds/linux/blob/v6.12/fs/proc/task_mmu.c>).

/// The first mapping of a file that the process executes or loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    pub(super) start: u64,
    /// Offset in the file.
    pub(super) offset: u64,
    /// In the mount namespace of the process. Never the path of a file that is gone, which cannot
    /// be read.
    pub(super) path: &'a str,
}

/// The first mapping of each file, in the order of addresses. Malformed lines are skipped.
pub(super) fn files(text: &str) -> impl Iterator<Item = Mapping<'_>> {
    let mut before = "";
    text.lines().filter_map(parse).filter(move |mapping| {
        let first = mapping.path != before;
        before = mapping.path;
        first
    })
}

/// `start-end perms offset device inode path`
fn parse(line: &str) -> Option<Mapping<'_>> {
    let mut rest = line;
    let mut word = || -> Option<&str> {
        let (word, more) = rest.trim_start_matches(' ').split_once(' ')?;
        rest = more;
        Some(word)
    };
    let (start, _end) = word()?.split_once('-')?;
    let (_permissions, offset, _device, _inode) = (word()?, word()?, word()?, word()?);
    let path = rest.trim_start_matches(' ');
    if !path.starts_with('/') || path.ends_with(" (deleted)") {
        return None;
    }
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping { start: number(start)?, offset: number(offset)?, path })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
00400000-00423000 r--p 00000000 fe:01 1311      /usr/bin/python3.11
00423000-006d6000 r-xp 00023000 fe:01 1311      /usr/bin/python3.11
0156f000-016a6000 rw-p 00000000 00:00 0         [heap]
7f0000000000-7f0000001000 rw-p 00000000 00:00 0
7f1000000000-7f1000022000 r--p 00000000 fe:01 99 /opt/a directory/libpython3.11.so.1.0
7f2000000000-7f2000022000 r--p 00001000 fe:01 98 /usr/lib/old.so (deleted)
";

    #[test]
    fn the_first_mapping_of_each_file_counts() {
        let found: Vec<_> = files(TEXT).map(|mapping| (mapping.start, mapping.path)).collect();
        assert_eq!(
            found,
            [(0x40_0000, "/usr/bin/python3.11"), (0x7f10_0000_0000, "/opt/a directory/libpython3.11.so.1.0")]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,200}", lines in proptest::collection::vec("[0-9a-f]{0,17}-? [-rwxp]{0,4} [0-9a-f]{0,17} /?.{0,9}", 0..9)) {
            assert!(files(&text).count() <= text.lines().count());
            assert!(files(&lines.join("\n")).count() <= lines.len());
        }
    }
}

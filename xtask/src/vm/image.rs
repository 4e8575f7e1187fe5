//! Writes the initramfs of a VM: a newc cpio archive of programs and all that they load. It is not
//! compressed, because unpacking costs an emulated guest less than inflating.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufWriter, Write},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::sh;

/// An archive that is being written.
pub(crate) struct Image<W: Write> {
    out: W,
    /// Paths (absolute, in the guest) that are in the archive already.
    present: BTreeSet<PathBuf>,
    inode: u32,
}

impl Image<BufWriter<fs::File>> {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = fs::File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self::new(BufWriter::new(file)))
    }
}

impl<W: Write> Image<W> {
    fn new(out: W) -> Self {
        Self { out, present: BTreeSet::from(["/".into()]), inode: 0 }
    }

    pub(crate) fn directory(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.entry(path.as_ref(), 0o40_755, 0, b"")
    }

    pub(crate) fn file(&mut self, path: impl AsRef<Path>, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(path.as_ref(), 0o100_000 | mode, 0, content)
    }

    pub(crate) fn symlink(&mut self, path: impl AsRef<Path>, to: &Path) -> Result<()> {
        self.entry(path.as_ref(), 0o120_777, 0, to.as_os_str().as_encoded_bytes())
    }

    /// A file of this machine under a path of the guest's.
    pub(crate) fn copy(&mut self, from: &Path, to: impl AsRef<Path>) -> Result<()> {
        if self.present.contains(to.as_ref()) {
            return Ok(());
        }
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let metadata = fs::metadata(from)?;
        let mode = 0o100_000 | metadata.permissions().mode() & 0o7777;
        // Python compiles its library again when the times of source and compiled file differ.
        let modified = u32::try_from(metadata.mtime()).unwrap_or(0);
        self.entry(to.as_ref(), mode, modified, &content)
    }

    /// A program under a path of the guest's, with the libraries that it loads under their own.
    pub(crate) fn program(&mut self, from: &Path, to: impl AsRef<Path>) -> Result<()> {
        self.copy(from, to)?;
        self.libraries(from)
    }

    /// The libraries that an ELF file loads, and the loader itself.
    pub(crate) fn libraries(&mut self, of: &Path) -> Result<()> {
        // ldd fails for a static program, which loads nothing.
        let Ok(list) = sh::output(Command::new("ldd").arg(of)) else { return Ok(()) };
        for line in list.lines() {
            let path = line.split_whitespace().find(|word| word.starts_with('/'));
            if let Some(library) = path {
                self.copy(Path::new(library), library)?;
            }
        }
        Ok(())
    }

    /// A directory tree of this machine under the same path; `skip` decides by name what is left
    /// out.
    pub(crate) fn tree(&mut self, dir: &Path, skip: &dyn Fn(&str) -> bool) -> Result<()> {
        let mut open = vec![dir.to_owned()];
        while let Some(dir) = open.pop() {
            self.directory(&dir)?;
            for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                if entry.file_name().to_str().is_none_or(skip) {
                    continue;
                }
                if kind.is_dir() {
                    open.push(path);
                } else if kind.is_symlink() {
                    self.symlink(&path, &fs::read_link(&path)?)?;
                } else if !kind.is_socket() && !kind.is_fifo() {
                    self.copy(&path, &path)?;
                    let is_library = path.extension().is_some_and(|extension| extension == "so");
                    if is_library && entry.metadata()?.size() > 0 {
                        self.libraries(&path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.present.clear();
        self.write("TRAILER!!!", 0, 0, b"")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &Path, mode: u32, modified: u32, content: &[u8]) -> Result<()> {
        let path = normal(path);
        if self.present.contains(&path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        let name = path.to_string_lossy();
        self.write(name.trim_start_matches('/'), mode, modified, content)?;
        self.present.insert(path);
        Ok(())
    }

    /// One entry: a header of thirteen 8-digit fields, the name, the content, each padded to 4
    /// bytes.
    fn write(&mut self, name: &str, mode: u32, modified: u32, content: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).context("a file of 4 GiB does not fit into an initramfs")?;
        let name_size = name.len() as u32 + 1;
        let fields = [self.inode, mode, 0, 0, 1, modified, size, 0, 0, 0, 0, name_size, 0];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0; 4][..1 + padding(6 + 13 * 8 + name.len() + 1)])?;
        self.out.write_all(content)?;
        self.out.write_all(&[0; 4][..padding(content.len())])?;
        Ok(())
    }
}

/// How many bytes are missing to the next multiple of 4.
const fn padding(length: usize) -> usize {
    (4 - length % 4) % 4
}

/// The path without `.`, `..` and through the merged `/usr`: the guest has `/lib -> usr/lib` like
/// Debian.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(part) => plain.push(part),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    for merged in ["bin", "sbin", "lib", "lib64"] {
        if let Ok(rest) = plain.strip_prefix(Path::new("/").join(merged)) {
            if rest.as_os_str().is_empty() {
                break;
            }
            return Path::new("/usr").join(merged).join(rest);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_parents_come_first() {
        let mut image = Image::new(Vec::new());
        image.file("/etc/hosts", 0o644, b"abcde").unwrap();
        image.file("/etc/hosts", 0o644, b"again").unwrap();
        let bytes = image.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let names: Vec<_> =
            ["etc\0", "etc/hosts\0", "TRAILER!!!\0"].map(|name| text.find(name).unwrap()).into();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(text.matches("070701").count(), 3);
        assert!(!text.contains("again"));
    }

    #[test]
    fn paths_go_through_the_merged_usr() {
        assert_eq!(normal(Path::new("/lib/x/../y.so")), Path::new("/usr/lib/y.so"));
        assert_eq!(normal(Path::new("/lib")), Path::new("/lib"));
        assert_eq!(normal(Path::new("/libexec/a")), Path::new("/libexec/a"));
    }
}

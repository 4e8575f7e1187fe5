//! The kernel's type information: any bytes are types or an error, and every look-up in them ends.

use wirespan::source::kernel::btf::Btf;

pub(crate) fn run(data: &[u8]) {
    let Ok(btf) = Btf::parse(data.to_vec()) else { return };
    // The names that the seeds have; the fuzzer may move them anywhere.
    for name in ["", "s", "t"] {
        for path in [&["a"][..], &["b"], &["a", "b"], &["b", "a", "b"], &[]] {
            let field = btf.field(name, path);
            assert!(!path.is_empty() || field.is_none());
            if let Some(field) = field {
                assert_eq!(field.byte(), field.bit / 8);
            }
        }
        let _ = btf.has_typedef(name);
        if let Some(parameters) = btf.parameters(name) {
            assert!(parameters.len() * 8 <= data.len(), "more parameters than there is room for");
        }
    }
}

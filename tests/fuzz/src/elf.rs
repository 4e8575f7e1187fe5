//! Executable files: any bytes are a Go program, a Go program of which too little is known, or
//! neither.

use wirespan::process::runtime::go::examine;

pub(crate) fn run(data: &[u8]) {
    let Some(Ok(program)) = examine(data) else { return };
    assert!([152, 160].contains(&program.goid));
    if let Some(at) = program.probes {
        for offset in at.iter() {
            assert!(*offset < data.len() as u64, "a probe beyond the file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_understood() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/elf");
        for seed in std::fs::read_dir(seeds).expect("the corpus is there").flatten() {
            let data = std::fs::read(seed.path()).expect("a seed can be read");
            let program = examine(&*data).and_then(Result::ok);
            assert!(program.is_some_and(|program| program.probes.is_some()), "{:?}", seed.path());
        }
    }
}

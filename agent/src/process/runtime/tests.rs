//! What is remembered of processes between two examinations.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_process_keeps_its_run_until_it_runs_another_program() {
    let mut runs = Runs::default();
    let (one, other) = ([1; 4], [2; 4]);
    let run = runs.of(7, one);
    assert_eq!(runs.of(7, one), run);
    let elsewhere = runs.of(8, one);
    assert_ne!(elsewhere, run, "goroutines of two processes are told apart by the pid, too");
    assert_ne!(runs.of(7, other), run);
    runs.current.remove(&7);
    assert_ne!(runs.of(7, one), run, "the same program, once more");
}

/// The process was examined when it still ran its parent's program; its first connection does not
/// make it be examined again.
#[test]
fn a_process_that_has_become_one_of_go_does_not_wait_for_a_library() {
    let directory = tempfile::tempdir().unwrap();
    let process = directory.path().join("7");
    std::fs::create_dir(&process).unwrap();
    std::fs::write(process.join("maps"), "").unwrap();
    let (shell, program) = (directory.path().join("sh"), directory.path().join("go"));
    std::fs::write(&shell, "").unwrap();
    std::fs::write(&program, go::tests::made()).unwrap();
    let proc = ProcRoot::new(directory.path());
    let mut runtimes = Runtimes::new(Wanted { goroutines: true, contexts: true });
    symlink(&shell, process.join("exe")).unwrap();
    assert_eq!(runtimes.detect(&proc, 7), None);
    assert!(runtimes.waiting.contains_key(&7));
    std::fs::remove_file(process.join("exe")).unwrap();
    symlink(&program, process.join("exe")).unwrap();
    let found = runtimes.detect(&proc, 7);
    assert!(found.is_some());
    assert!(!runtimes.connected(7));
    assert_eq!(runtimes.detect(&proc, 7), found);
}

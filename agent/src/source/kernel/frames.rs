//! Tests how much stack the programs of uprobes take. Since 6.13 the kernel gives a function of
//! such a program its own stack per processor when the frame has 64 bytes or more, in steps of 16
//! (`check_max_stack_depth_subprog` and `bpf_enable_priv_stack`,
//! <https://github.com/torvalds/linux/blob/v6.13/kernel/bpf/verifier.c>). But programs of uprobes
//! may be preempted, and nothing keeps the same program from running on that processor meanwhile.
//! Two tasks would share the stack, and the kernel would follow what is left of its pointers. Other
//! programs do not run a second time on a processor.

use std::collections::BTreeMap;

use object::{File, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

use super::{object::OBJECT, uprobe::table::TABLE};
use crate::skipped::{Machine, skip};

/// Most bytes that are not rounded up to 64.
const MOST: i32 = 48;

/// Size of an instruction.
const INSTRUCTION: usize = 8;
/// The register that holds the frame's end.
const FRAME: u8 = 10;

// Opcodes and classes (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>).
const CLASS: u8 = 0x07;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const MOVE: u8 = 0xbf;
const ADD_CONSTANT: u8 = 0x07;
const CALL: u8 = 0x85;
/// Source register of an instruction that enters another function of the object (BPF_PSEUDO_CALL).
const OF_FUNCTION: u8 = 1;

struct Function {
    frame: i32,
    /// Functions that a relocation names; others are not known.
    callees: Vec<String>,
    entered: usize,
}

/// How far below the frame's end these instructions reach.
fn frame(code: &[u8]) -> i32 {
    let mut deepest = 0;
    let mut points_to_frame = [false; 16];
    for instruction in code.chunks_exact(INSTRUCTION) {
        let (opcode, target, source) = (instruction[0], instruction[1] & 0xf, instruction[1] >> 4);
        let offset = i32::from(i16::from_le_bytes([instruction[2], instruction[3]]));
        let constant = i32::from_le_bytes(instruction[4..8].try_into().expect("four bytes"));
        let reaches = match opcode {
            MOVE => {
                points_to_frame[usize::from(target)] = source == FRAME;
                0
            }
            ADD_CONSTANT if points_to_frame[usize::from(target)] => constant,
            _ => match opcode & CLASS {
                LDX if source == FRAME => offset,
                ST | STX if target == FRAME => offset,
                _ => 0,
            },
        };
        deepest = deepest.min(reaches);
    }
    -deepest
}

/// How many of these instructions enter other functions.
fn functions_entered(code: &[u8]) -> usize {
    let of_function = |instruction: &&[u8]| instruction[0] == CALL && instruction[1] >> 4 == OF_FUNCTION;
    code.chunks_exact(INSTRUCTION).filter(of_function).count()
}

/// The functions of the object by name.
fn functions(file: &File<'_>) -> BTreeMap<String, Function> {
    let mut found = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let index = symbol.section_index().expect("a function lies in a section");
        let section = file.section_by_index(index).expect("the symbol's section");
        let code = section.data_range(symbol.address(), symbol.size()).expect("readable").expect("its code");
        let range = symbol.address()..symbol.address() + symbol.size();
        let callees =
            section.relocations().filter(|(at, _)| range.contains(at)).filter_map(|(_, relocation)| {
                let RelocationTarget::Symbol(target) = relocation.target() else { return None };
                let target = file.symbol_by_index(target).ok()?;
                (target.kind() == SymbolKind::Text).then(|| target.name().unwrap_or_default().to_owned())
            });
        let (frame, callees) = (frame(code), callees.collect());
        let function = Function { frame, callees, entered: functions_entered(code) };
        let name = symbol.name().expect("functions have names");
        found.insert(name.to_owned(), function);
    }
    found
}

#[test]
fn programs_of_uprobes_have_no_stack_that_two_tasks_share() {
    if OBJECT.is_empty() {
        skip(Machine::MayTrace, "built without the programs");
        return;
    }
    let file = File::parse(OBJECT).expect("the object is ELF");
    let functions = functions(&file);
    let mut open: Vec<&str> = TABLE.iter().flat_map(|set| set.probes).map(|probe| probe.program).collect();
    let mut seen = 0;
    while let Some(name) = open.pop() {
        let function = functions.get(name).unwrap_or_else(|| panic!("{name} is not in the object"));
        assert!(function.frame <= MOST, "{name} has a frame of {} bytes", function.frame);
        assert_eq!(function.callees.len(), function.entered, "{name} enters what has no name");
        open.extend(function.callees.iter().map(String::as_str));
        seen += 1;
        assert!(seen < 100, "a function enters itself");
    }
}

#[test]
fn frames_are_measured() {
    // *(u32 *)(r10 - 56) = r6; r2 = r10; r2 += -64; r3 = r2; r3 += -99
    let code = [
        [0x63, 0x6a, 0xc8, 0xff, 0, 0, 0, 0],
        [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
        [0x07, 0x02, 0, 0, 0xc0, 0xff, 0xff, 0xff],
        [0xbf, 0x23, 0, 0, 0, 0, 0, 0],
        [0x07, 0x03, 0, 0, 0x9d, 0xff, 0xff, 0xff],
    ];
    assert_eq!(frame(&code.concat()), 64);
    assert_eq!(frame(&code[..2].concat()), 56);
    assert_eq!(frame(&[]), 0);
}

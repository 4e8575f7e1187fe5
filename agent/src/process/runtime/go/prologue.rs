//! Where in a function a probe costs little. Every Go function with a frame begins by comparing its
//! stack with the limit in its goroutine, and jumps (`jbe`) to get more. The kernel emulates that
//! jump, where it would single-step the comparison; the arguments are still in their registers
//! (cmd/internal/obj/x86/obj6.go, `stacksplit`).

/// `cmp rsp, [r14+16]`
const SMALL: &[u8] = &[0x49, 0x3b, 0x66, 0x10];
/// `lea r12, [rsp+disp8]` and `lea r12, [rsp+disp32]`, with the bytes of what follows the opcode.
const LEA: [(&[u8], usize); 2] = [(&[0x4c, 0x8d, 0x64, 0x24], 1), (&[0x4c, 0x8d, 0xa4, 0x24], 4)];
/// `cmp r12, [r14+16]`
const LARGE: &[u8] = &[0x4d, 0x3b, 0x66, 0x10];
/// `jbe` with 8 and 32 bits.
const JUMPS: [&[u8]; 2] = [&[0x76], &[0x0f, 0x86]];

/// Offset of the jump in a function; `None`: the function does not begin as expected.
pub(super) fn jump(code: &[u8]) -> Option<u64> {
    let compared = match code.strip_prefix(SMALL) {
        Some(rest) => rest,
        None => LEA
            .iter()
            .find_map(|(lea, distance)| code.strip_prefix(*lea)?.get(*distance..)?.strip_prefix(LARGE))?,
    };
    let found = JUMPS.iter().any(|jump| compared.starts_with(jump));
    found.then_some((code.len() - compared.len()) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_jump_is_behind_the_comparison() {
        for (code, expected) in [
            (&b"\x49\x3b\x66\x10\x76\x2d\x55"[..], Some(4)),
            (b"\x49\x3b\x66\x10\x0f\x86\x01\x02\0\0\x55", Some(4)),
            (b"\x4c\x8d\x64\x24\xd8\x4d\x3b\x66\x10\x0f\x86\x9a\x04\0\0\x55", Some(9)),
            (b"\x4c\x8d\xa4\x24\x58\xfe\xff\xff\x4d\x3b\x66\x10\x0f\x86\x9a\x04\0\0\x55", Some(12)),
            // Another jump, another register, no comparison, the end.
            (b"\x49\x3b\x66\x10\x77\x2d\x55", None),
            (b"\x4c\x8d\x64\x24\xd8\x49\x3b\x66\x10\x76\x10", None),
            (b"\x55\x48\x89\xe5", None),
            (b"\x49\x3b\x66\x10", None),
            (b"", None),
        ] {
            assert_eq!(jump(code), expected, "{code:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_code_is_answered(code in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Some(at) = jump(&code) {
                prop_assert!((at as usize) < code.len());
            }
        }
    }
}

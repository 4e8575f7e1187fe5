//! Loading and attaching one program, and the kernel's refusal in words that fit on a line.

use aya::{
    Ebpf,
    programs::{BtfTracePoint, FExit, ProgramError, RawTracePoint},
};

use super::attach_mode::Hook;

pub(super) fn attach_raw(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), String> {
    let program = ebpf.program_mut(hook.program).ok_or("the program is not in this build")?;
    let program: &mut RawTracePoint = program.try_into().map_err(|error: ProgramError| chain(&error))?;
    program.load().map_err(|error| refusal(&error))?;
    program.attach(hook.target).map_err(|error| refusal(&error))?;
    Ok(())
}

/// A raw tracepoint whose arguments the verifier knows by type.
pub(super) fn attach_typed(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), String> {
    let types = aya::Btf::from_sys_fs().map_err(|error| chain(&error))?;
    let program = ebpf.program_mut(hook.program).ok_or("the program is not in this build")?;
    let program: &mut BtfTracePoint = program.try_into().map_err(|error: ProgramError| chain(&error))?;
    program.load(hook.target, &types).map_err(|error| refusal(&error))?;
    program.attach().map_err(|error| refusal(&error))?;
    Ok(())
}

pub(super) fn attach_fexit(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), String> {
    let types = aya::Btf::from_sys_fs().map_err(|error| chain(&error))?;
    let program = ebpf.program_mut(hook.program).ok_or("the program is not in this build")?;
    let program: &mut FExit = program.try_into().map_err(|error: ProgramError| chain(&error))?;
    program.load(hook.target, &types).map_err(|error| refusal(&error))?;
    program.attach().map_err(|error| refusal(&error))?;
    Ok(())
}

/// The error with its causes; of a verifier log only the end, where the reason stands. `RUST_LOG=debug` shows all.
pub(super) fn refusal(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        tracing::debug!("verifier log:\n{log}");
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let end = &lines[lines.len().saturating_sub(6)..];
        return format!("{io_error}: {}", end.join(" | "));
    }
    chain(error)
}

/// An error and all that caused it, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

//! Loads and attaches one program.

use aya::{
    Ebpf,
    programs::{BtfTracePoint, FExit, Program, ProgramError, RawTracePoint},
};

use super::{attach_mode::Hook, error::AttachError};

/// A program of the object, as the type that it is.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, AttachError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(AttachError::NotBuilt)?;
    Ok(program.try_into()?)
}

pub(super) fn attach_raw(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), AttachError> {
    let program: &mut RawTracePoint = program(ebpf, hook.program)?;
    program.load()?;
    program.attach(hook.target)?;
    Ok(())
}

/// A raw tracepoint whose arguments the verifier knows by type.
pub(super) fn attach_typed(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), AttachError> {
    let types = aya::Btf::from_sys_fs()?;
    let program: &mut BtfTracePoint = program(ebpf, hook.program)?;
    program.load(hook.target, &types)?;
    program.attach()?;
    Ok(())
}

pub(super) fn attach_fexit(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), AttachError> {
    let types = aya::Btf::from_sys_fs()?;
    let program: &mut FExit = program(ebpf, hook.program)?;
    program.load(hook.target, &types)?;
    program.attach()?;
    Ok(())
}

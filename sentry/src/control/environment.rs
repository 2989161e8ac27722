//! The environment of a container's process, as runc makes it of the specification.

use crate::fs::lookup::{self, Follow};
use crate::fs::{FsContext, FsCx, NodeKind, OpenFile, Path, open};
use crate::user::IoWriter;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_proto::control::ProcessSpec;

/// Bytes of `/etc/passwd` that are looked at.
const PASSWD_MAX: usize = 1 << 20;

/// The variables: of one given twice the last value counts, at the first one's place. `HOME` is the home directory that
/// `/etc/passwd` of the container gives the user id, `/` when it gives none, unless the specification sets it.
pub(super) fn of(cx: &FsCx<'_>, fs: &FsContext, spec: &ProcessSpec) -> Vec<String> {
    let mut variables: Vec<String> = Vec::with_capacity(spec.env.len() + 1);
    let name = |variable: &str| variable.split_once('=').map_or(variable.len(), |(name, _)| name.len() + 1);
    for variable in &spec.env {
        let head = variable.get(..name(variable)).unwrap_or(variable);
        match variables.iter_mut().find(|other| other.starts_with(head)) {
            Some(other) => other.clone_from(variable),
            None => variables.push(variable.clone()),
        }
    }
    match variables.iter_mut().find(|variable| variable.starts_with("HOME=")) {
        Some(variable) if variable == "HOME=" => *variable = format!("HOME={}", home(cx, fs, spec.uid)),
        Some(_) => {}
        None => variables.push(format!("HOME={}", home(cx, fs, spec.uid))),
    }
    variables
}

fn home(cx: &FsCx<'_>, fs: &FsContext, uid: u32) -> String {
    let passwd = lookup::resolve(cx, &fs.root(), b"/etc/passwd", Follow::Yes).ok();
    let text = passwd.and_then(|path| read(cx, path)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(|line| line.trim().split(':'));
    let entry = lines.find_map(|mut fields| {
        let of: u32 = fields.nth(2)?.parse().ok()?;
        (of == uid).then(|| String::from(fields.nth(2).unwrap_or_default()))
    });
    entry.unwrap_or_else(|| String::from("/"))
}

fn read(cx: &FsCx<'_>, path: Path) -> Option<Vec<u8>> {
    let file: Arc<OpenFile> = open::open_path(cx, path, &open::How::flags(0)).ok()?;
    let NodeKind::File(node) = &file.node()?.kind else { return None };
    let mut text = Vec::new();
    while text.len() < PASSWD_MAX {
        let mut part = [0; 512];
        let mut writer = IoWriter::kernel(&mut part);
        node.read(cx, &file, text.len() as u64, &mut writer).ok()?;
        let done = writer.done();
        if done == 0 {
            break;
        }
        text.extend_from_slice(part.get(..done)?);
    }
    Some(text)
}

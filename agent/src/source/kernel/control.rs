//! What is asked of the kernel for a connection, as the programs look it up.

use agent_common::Control;

use crate::event::{Capture, CaptureMode, Direction};

/// What the programs look at before they make a record. They have a bit for each direction of what
/// is captured whole, and one for both of which nothing is.
pub(super) fn control(cookie: u64, directions: &[Capture; 2]) -> Control {
    let mut control = Control::nothing(cookie);
    for direction in Direction::BOTH {
        let Capture { mode, skip_until } = directions[direction.index()];
        control.skip_until[direction.index()] =
            if mode == CaptureMode::Nothing { u64::MAX } else { skip_until };
        control.whole |= u64::from(mode == CaptureMode::Whole) << direction.index();
    }
    control.opaque = u64::from(directions.iter().all(|capture| capture.mode == CaptureMode::Nothing));
    control
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(out: CaptureMode, received: CaptureMode) -> Control {
        let capture = |mode, skip_until| Capture { mode, skip_until };
        control(7, &[capture(out, 11), capture(received, 0)])
    }

    #[test]
    fn each_direction_has_its_own_mode() {
        use CaptureMode::{Ends, Nothing, Whole};
        let fields = |control: Control| (control.skip_until, control.whole, control.opaque);
        assert_eq!(asked(Ends, Ends).cookie, 7);
        assert_eq!(fields(asked(Ends, Ends)), ([11, 0], 0, 0));
        assert_eq!(fields(asked(Whole, Ends)), ([11, 0], 1, 0));
        assert_eq!(fields(asked(Whole, Whole)), ([11, 0], 3, 0));
        assert_eq!(fields(asked(Ends, Nothing)), ([11, u64::MAX], 0, 0));
        assert_eq!(fields(asked(Nothing, Nothing)).2, 1);
    }
}

//! What the agent has switched on in the programs (`switch`). The programs read a global variable;
//! here it is an array of one entry, which has all slots.

use agent_common::switch;
use aya::maps::{Array, MapData, MapError};

type Slots = [u32; switch::COUNT as usize];

/// Section of the programs' variable, and name of its map.
pub(super) const SECTION: &str = ".data.switches";

pub(super) struct Switches {
    map: Array<MapData, Slots>,
    /// As the map has them: only this value writes there.
    slots: Slots,
}

impl Switches {
    pub(super) const fn of(map: Array<MapData, Slots>) -> Self {
        Self { map, slots: [switch::OFF; switch::COUNT as usize] }
    }

    /// Switches a slot of `switch` on or off.
    pub(super) fn set(&mut self, slot: u32, value: u32) -> Result<(), MapError> {
        self.slots[slot as usize] = value;
        self.map.set(0, self.slots, 0)
    }
}

//! Where events come from. Live: the kernel. From a file: packets that others captured. (A recorded log comes in through
//! the same door.)

pub mod kernel;
pub mod pcap;

//! Where events come from. Live: the kernel. (A recorded log and a pcap file come in through the same door later.)

pub mod kernel;

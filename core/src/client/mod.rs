//! The client side of the protocol as sans-IO machines: producer, consumer, group member.
//!
//! Never touches a socket, clock or task: the same machines run under the command line, the simulator and the consistency tester.

pub mod partitioner;

//! Whole pipelines: exact results of the reference's shapes, crashes of ourselves and of user code, the command line.

mod crash;
mod misbehaviour;
mod shapes;

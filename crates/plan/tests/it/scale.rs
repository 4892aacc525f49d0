//! How many replicas: the rules one by one, load shapes, and random runs under an independent judge.

mod auto;
mod phases;
mod seeds;
mod shapes;
mod world;

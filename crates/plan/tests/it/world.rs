//! A world in memory for simulations: what really exists and happens, apart from what anybody sees or decides.

pub(crate) mod vertex;

//! The example as its users meet it: as a program, on every database there is.

mod alone;
mod failing;
mod imports;
mod losing;
mod program;
mod scene;

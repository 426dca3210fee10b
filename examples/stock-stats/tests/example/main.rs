//! The example as its users meet it: midnight by midnight, and as a program, on every database
//! there is.

mod market;
mod midnight;
mod program;
mod trial;

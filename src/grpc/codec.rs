//! How messages are read and written: prost's coding, but a message that cannot be read is the
//! caller's mistake. tonic-prost answers INTERNAL then, which tells nobody whose fault it is.

use std::marker::PhantomData;

use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::grpc::status;

/// The codec of the generated services and clients.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: prost::Message + Send + 'static,
    U: prost::Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Reader<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(ProstCodec::<T, U>::default().decoder())
    }
}

/// Reads one message.
#[derive(Debug)]
pub struct Reader<U>(ProstDecoder<U>);

impl<U: prost::Message + Default> Decoder for Reader<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // prost names message and field, such as "CreateVolumeRequest.name: … not UTF-8".
        self.0.decode(buffer).map_err(|error| status::undecodable(error.message()))
    }
}

"""The part of Triton's model_config.proto that a repository of ours says.

Names and numbers are those of triton-inference-server/common; a map of protobuf is written as what
it is on the wire and in text, repeated entries of key and value.
"""

from ...serve.protobuf import message_class

_SCHEMA = {
    "DataType": "TYPE_INVALID=0 TYPE_BOOL=1 TYPE_UINT8=2 TYPE_UINT16=3 TYPE_UINT32=4 TYPE_UINT64=5"
    " TYPE_INT8=6 TYPE_INT16=7 TYPE_INT32=8 TYPE_INT64=9 TYPE_FP16=10 TYPE_FP32=11 TYPE_FP64=12",
    "Kind": "KIND_AUTO=0 KIND_GPU=1 KIND_CPU=2 KIND_MODEL=3",
    "ModelInput": "name:1:string data_type:2:DataType dims*:4:int64 optional:8:bool",
    "ModelOutput": "name:1:string data_type:2:DataType dims*:3:int64 label_filename:4:string",
    "ModelInstanceGroup": "count:2:int32 kind:4:Kind",
    "ModelDynamicBatching": "max_queue_delay_microseconds:2:uint64",
    "ModelOperations": "op_library_filename*:1:string",
    "ModelParameter": "string_value:1:string",
    "ParametersEntry": "key:1:string value:2:ModelParameter",
    "ModelConfig": "name:1:string backend:17:string max_batch_size:4:int32 input*:5:ModelInput"
    " output*:6:ModelOutput instance_group*:7:ModelInstanceGroup"
    " dynamic_batching:11:ModelDynamicBatching parameters*:14:ParametersEntry"
    " model_operations:18:ModelOperations",
}

ModelConfig = message_class("graphstill_triton", "ModelConfig", _SCHEMA)

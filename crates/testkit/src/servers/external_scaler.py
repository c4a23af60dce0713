"""An external scaler written with Python's grpcio: state comes in on stdin, a line of JSON each.

{"active": true}                 what IsActive says, and what is pushed when it changes
{"metrics": {"jobs": [4, 10]}}   each metric's target and its value
{"hang": true}                   calls are taken and never answered, until the caller gives up
{"fail": "text"}                 calls are refused with this text
{"seen": true}                   answers with the last target asked about, and with counts
"""

import concurrent.futures
import importlib
import json
import sys
import threading

import grpc
from grpc_tools import protoc

proto_directory, made, key, certificate, authority = sys.argv[1:6]
protoc.main(["", f"-I{proto_directory}", f"--python_out={made}", f"--grpc_python_out={made}",
             "externalscaler.proto"])
sys.path.insert(0, made)
messages = importlib.import_module("externalscaler_pb2")
services = importlib.import_module("externalscaler_pb2_grpc")

changed = threading.Condition()
state = {"active": False, "metrics": {}, "hang": False, "fail": ""}
seen = {"target": None, "calls": 0, "streams": 0}


def entered(target, context):
    with changed:
        seen["calls"] += 1
        seen["target"] = {"name": target.name, "namespace": target.namespace,
                          "metadata": dict(target.scalerMetadata)}
        while state["hang"] and context.is_active():
            changed.wait(0.05)
        if state["fail"]:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, state["fail"])


class Scaler(services.ExternalScalerServicer):
    def IsActive(self, request, context):
        entered(request, context)
        return messages.IsActiveResponse(result=state["active"])

    def StreamIsActive(self, request, context):
        with changed:
            seen["streams"] += 1
            known = state["active"]
        try:
            while context.is_active():
                with changed:
                    changed.wait(0.05)
                    now = state["active"]
                if now != known:
                    known = now
                    yield messages.IsActiveResponse(result=now)
        finally:
            with changed:
                seen["streams"] -= 1

    def GetMetricSpec(self, request, context):
        entered(request, context)
        specs = []
        for name, (target, _) in state["metrics"].items():
            whole = isinstance(target, int)
            specs.append(messages.MetricSpec(metricName=name, targetSize=target if whole else 0,
                                             targetSizeFloat=0 if whole else target))
        return messages.GetMetricSpecResponse(metricSpecs=specs)

    def GetMetrics(self, request, context):
        entered(request.scaledObjectRef, context)
        value = state["metrics"][request.metricName][1]
        whole = isinstance(value, int)
        metric = messages.MetricValue(metricName=request.metricName, metricValue=value if whole else 0,
                                      metricValueFloat=0 if whole else value)
        return messages.GetMetricsResponse(metricValues=[metric])


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
services.add_ExternalScalerServicer_to_server(Scaler(), server)
address = sys.argv[6]
if key:
    read = lambda path: open(path, "rb").read()
    credentials = grpc.ssl_server_credentials([(read(key), read(certificate))], read(authority), True)
    server.add_secure_port(address, credentials)
else:
    server.add_insecure_port(address)
server.start()
print("{}", flush=True)
for line in sys.stdin:
    told = json.loads(line)
    with changed:
        answer = seen if told.pop("seen", False) else {}
        state.update(told)
        changed.notify_all()
        print(json.dumps(answer), flush=True)

# Azure Monitor's managed Prometheus scrapes the cluster.

resource "azurerm_monitor_workspace" "this" {
  name                = "${var.name}-metrics"
  resource_group_name = local.group
  location            = local.location
  tags                = var.tags
}

resource "azurerm_monitor_data_collection_endpoint" "metrics" {
  name                = "${var.name}-metrics"
  resource_group_name = local.group
  location            = local.location
  kind                = "Linux"
  tags                = var.tags
}

resource "azurerm_monitor_data_collection_rule" "metrics" {
  name                        = "${var.name}-metrics"
  resource_group_name         = local.group
  location                    = local.location
  kind                        = "Linux"
  data_collection_endpoint_id = azurerm_monitor_data_collection_endpoint.metrics.id
  tags                        = var.tags

  data_sources {
    prometheus_forwarder {
      name    = "prometheus"
      streams = ["Microsoft-PrometheusMetrics"]
    }
  }

  destinations {
    monitor_account {
      name               = "workspace"
      monitor_account_id = azurerm_monitor_workspace.this.id
    }
  }

  data_flow {
    streams      = ["Microsoft-PrometheusMetrics"]
    destinations = ["workspace"]
  }
}

resource "azurerm_monitor_data_collection_rule_association" "metrics" {
  name                    = "${var.name}-metrics"
  target_resource_id      = azurerm_kubernetes_cluster.this.id
  data_collection_rule_id = azurerm_monitor_data_collection_rule.metrics.id
}
